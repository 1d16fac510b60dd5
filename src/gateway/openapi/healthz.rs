//! The path at which the gRPC health service is answered in JSON.

use serde_json::{Value, json};

use super::failures::STATUS;

/// The path item of it.
pub(super) fn path_item() -> Value {
    let status = json!({"$ref": format!("#/components/schemas/{STATUS}")});
    let failure =
        |said: &str| json!({"description": said, "content": {"application/json": {"schema": status}}});
    json!({"get": {
        "summary": "Whether the server serves",
        "operationId": "healthz",
        "parameters": [{
            "name": "service",
            "in": "query",
            "description": "The full name of a service; else the server as a whole is meant.",
            "schema": {"type": "string"},
        }],
        "responses": {
            "200": {
                "description": "It does.",
                "content": {"application/json": {"schema": {
                    "type": "object",
                    "properties": {"status": {"type": "string", "enum": ["SERVING"]}},
                    "required": ["status"],
                }}},
            },
            "404": failure("The service is not known."),
            "503": failure("It does not."),
            "default": {"$ref": "#/components/responses/Failure"},
        },
    }})
}
