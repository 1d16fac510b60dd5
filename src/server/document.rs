//! What the OpenAPI document says of this server beside its RPCs.

use serde_json::{Map, Value, json};

use crate::{gateway::openapi::OpenApi, metrics};

/// Where the document is served.
pub(super) const PATH: &str = "/openapi.json";

/// The title, and the paths that are no RPCs.
pub(super) fn about() -> OpenApi {
    OpenApi {
        title: "leasehold".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        // The head of the proto.
        description: String::new(),
        paths: vec![
            ("/health".to_owned(), health()),
            ("/metrics".to_owned(), metrics()),
            (PATH.to_owned(), openapi()),
        ],
        security_schemes: Map::from_iter([
            ("ServiceKey".to_owned(), service_key()),
            ("Bearer".to_owned(), bearer()),
        ]),
        // None, or one of them.
        security: vec![json!({}), json!({"ServiceKey": []}), json!({"Bearer": []})],
    }
}

fn service_key() -> Value {
    json!({
        "type": "apiKey",
        "in": "header",
        "name": "X-Service-Key",
        "description": "A key, where the server has keys: registering, renewing and deregistering need one, and reading if the server protects it.",
    })
}

fn bearer() -> Value {
    json!({
        "type": "http",
        "scheme": "bearer",
        "description": "The same key, as `Authorization: Bearer`; the other header goes before.",
    })
}

fn health() -> Value {
    let told = |said: &str| {
        json!({"description": said, "content": {"application/json": {"schema": {
            "type": "object",
            "properties": {
                "status": {"type": "string", "enum": ["healthy", "draining"]},
                "version": {"type": "string"},
                "instances": {"type": "integer", "minimum": 0, "description": "How many are listed."},
                "revision": {"type": "string", "pattern": "^[0-9]{1,20}$"},
            },
            "required": ["status", "version", "instances", "revision"],
        }}}})
    };
    json!({
        "get": {
            "tags": ["Server"],
            "summary": "Whether the server is healthy",
            "operationId": "health",
            "responses": {"200": told("It is."), "503": told("It is draining.")},
        },
        "head": {
            "tags": ["Server"],
            "summary": "Whether the server is healthy, as a status only",
            "operationId": "health_head",
            "responses": {"200": {"description": "It is."}, "503": {"description": "It is draining."}},
        },
    })
}

fn metrics() -> Value {
    json!({"get": {
        "tags": ["Server"],
        "summary": "Counters and gauges, for Prometheus",
        "operationId": "metrics",
        "responses": {"200": {
            "description": "OpenMetrics where it is asked for, else the text format.",
            "content": {
                metrics::TEXT: {"schema": {"type": "string"}},
                metrics::OPEN_METRICS: {"schema": {"type": "string"}},
            },
        }},
    }})
}

fn openapi() -> Value {
    json!({"get": {
        "tags": ["Server"],
        "summary": "This document",
        "operationId": "openapi",
        "responses": {"200": {
            "description": "OpenAPI 3.1.",
            "content": {"application/json": {"schema": {
                "type": "object",
                "properties": {"openapi": {"type": "string"}},
                "required": ["openapi", "info", "paths"],
            }}},
        }},
    }})
}
