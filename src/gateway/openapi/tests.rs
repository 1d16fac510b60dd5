//! The document of a service made for the purpose, `testdata/library.proto`.

use http::HeaderName;
use prost_reflect::DescriptorPool;
use serde_json::{Value, json};

use super::*;
use crate::gateway::{EventStreams, JsonOptions};

pub(super) const LIBRARY: &str = "test.v1.Library";

/// `testdata/library.proto`, compiled.
pub(super) fn library() -> DescriptorPool {
    let root = env!("CARGO_MANIFEST_DIR");
    let includes = [format!("{root}/proto"), format!("{root}/src/gateway/openapi/testdata")];
    let mut compiler = protox::Compiler::new(includes).unwrap();
    compiler.include_imports(true).include_source_info(true).open_file("library.proto").unwrap();
    DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap()
}

fn made(options: &Options) -> Value {
    let about = OpenApi { title: "Books".to_owned(), version: "1".to_owned(), ..OpenApi::default() };
    serde_json::from_str(&document(&library(), &[LIBRARY], options, &about).unwrap()).unwrap()
}

fn made_with(json: JsonOptions) -> Value {
    made(&Options { json, ..Options::default() })
}

/// The operation of this name.
fn operation<'a>(document: &'a Value, id: &str) -> &'a Value {
    let paths = document["paths"].as_object().unwrap().values();
    let mut operations = paths.flat_map(|item| item.as_object().unwrap().values());
    operations.find(|operation| operation["operationId"] == id).unwrap_or_else(|| panic!("{id}"))
}

pub(super) fn schema<'a>(document: &'a Value, name: &str) -> &'a Value {
    let found = &document["components"]["schemas"][name];
    assert!(found.is_object(), "{name}");
    found
}

fn answer(operation: &Value) -> &Value {
    &operation["responses"]["200"]["content"]["application/json"]["schema"]
}

fn body(operation: &Value) -> &Value {
    &operation["requestBody"]["content"]["application/json"]["schema"]
}

pub(super) fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

#[test]
fn every_binding_has_an_operation_with_its_parameters() {
    let text = document(&library(), &[LIBRARY], &Options::default(), &OpenApi::default()).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let names = parameters.map(|parameter| {
                assert_eq!(parameter["in"] == "path", parameter["required"] == true, "{parameter}");
                let place = parameter["in"].as_str().unwrap();
                format!("{}:{}", &place[..1], parameter["name"].as_str().unwrap())
            });
            let id = operation["operationId"].as_str().unwrap();
            found.push(format!("{method} {path} {id} {}", names.collect::<Vec<_>>().join(" ")));
        }
    }
    found.sort();
    assert_eq!(
        found,
        [
            "get /v1/books Library_Search q:filter.author_name q:filter.grade q:filter.deep.deeper.shown \
             q:filter.since q:words q:by_label q:max_age q:revision q:extra q:score q:mark q:nothing",
            "get /v1/count Library_Count q:name",
            "get /v1/drafts/{name_2} Library_Get2 p:name_2",
            "get /v1/events Library_Follow q:cursor",
            "get /v1/text/{any1} Library_Read p:any1 q:name",
            "get /v1/{name} Library_Get p:name",
            "patch /v1/{name} Library_Update p:name q:update_mask",
            "post /v1/{name}/{edition}:move Library_Move p:name p:edition",
            "put /v1/count Library_SetCount q:book.name q:book.grade q:book.pages q:book.printed_by \
             q:book.spoken_for",
            "put /v1/grades Library_Grade q:by_hand",
        ]
    );
    // They come as they are declared.
    let place = |id: &str| text.find(&format!("\"{id}\"")).unwrap();
    let ids = ["Search", "Get", "Update", "Move", "Count", "SetCount", "Grade", "Follow", "Read"];
    let places: Vec<usize> = ids.iter().map(|id| place(&format!("Library_{id}"))).collect();
    assert!(places[0] < places[1] && places[3..].is_sorted(), "{places:?}");
}

#[test]
fn parameters_are_spelled_as_in_a_url() {
    let document = made(&Options::default());
    let search = operation(&document, "Library_Search");
    let duration = r"^[+-]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|ms|s|m|h))+)$";
    let cases = [
        ("filter.author_name", json!({"type": "string"})),
        ("filter.grade", reference("test.v1.Grade")),
        ("filter.since", json!({"type": "string", "format": "date-time"})),
        ("words", json!({"type": "array", "items": {"type": "string"}})),
        (
            "by_label",
            json!({"type": "object", "additionalProperties": {"type": "integer", "format": "int32"}}),
        ),
        ("max_age", json!({"type": "string", "pattern": duration})),
        ("revision", json!({"type": "string", "format": "uint64", "pattern": "^[0-9]{1,20}$"})),
        (
            "extra",
            json!({"type": "string", "contentMediaType": "application/json", "contentSchema": {"type": "object"}}),
        ),
        ("score", json!({"type": "number", "format": "double"})),
        ("mark", json!({"type": "string", "format": "byte"})),
        ("nothing", json!({"type": "null"})),
    ];
    let parameters = search["parameters"].as_array().unwrap();
    for (name, expect) in cases {
        let parameter = parameters.iter().find(|parameter| parameter["name"] == name).unwrap();
        assert_eq!(parameter["schema"], expect, "{name}");
        let style = if name == "by_label" { json!("deepObject") } else { Value::Null };
        assert_eq!(parameter["style"], style, "{name}");
    }
    assert_eq!(parameters[0]["description"], "By whom.");
    let set_count = &operation(&document, "Library_SetCount")["parameters"];
    assert_eq!(set_count[3]["description"], "Not together with `spoken_for`, `retold`.");
    let slot = |id: &str| operation(&document, id)["parameters"][0].clone();
    assert_eq!(slot("Library_Get")["schema"], json!({"type": "string", "pattern": "^shelves/[^/]+$"}));
    assert_eq!(slot("Library_Get2")["schema"], json!({"type": "string"}));
    assert_eq!(slot("Library_Update")["description"], "Its name.");
    let edition = &operation(&document, "Library_Move")["parameters"][1]["schema"];
    assert_eq!(edition["maximum"], u32::MAX);
}

#[test]
fn bodies() {
    let document = made(&Options::default());
    let body_of = |id: &str| body(operation(&document, id)).clone();
    assert_eq!(body_of("Library_Update"), reference("test.v1.Book-Input"));
    assert_eq!(operation(&document, "Library_Get").get("requestBody"), None);
    // The path fills the others.
    assert_eq!(
        body_of("Library_Move"),
        json!({"type": "object", "properties": {"to_shelf": {"type": "string"}}})
    );
    // A field by itself is spelled by other rules than one in a message.
    assert_eq!(body_of("Library_SetCount"), json!({"type": "integer", "format": "int64"}));
    assert_eq!(
        body_of("Library_Grade"),
        json!({"type": "array", "items": {"type": "integer", "format": "int32"}})
    );
}

#[test]
fn answers() {
    let document = made(&Options::default());
    let answer_of = |id: &str| answer(operation(&document, id)).clone();
    assert_eq!(answer_of("Library_Get"), reference("test.v1.Book"));
    assert_eq!(answer_of("Library_Move"), json!({"type": "object"}));
    assert_eq!(answer_of("Library_Count"), json!({"type": "integer", "format": "int64"}));
    assert_eq!(answer_of("Library_SetCount"), reference("test.v1.Book"), "unset is all unset, not null");
    assert_eq!(
        operation(&document, "Library_Read")["responses"]["200"]["content"],
        json!({"*/*": {}}),
        "sent as it is"
    );
    let failures = |id: &str| keys(&operation(&document, id)["responses"]).join(" ");
    assert_eq!(failures("Library_Get"), "200 400 default");
    assert_eq!(failures("Library_Search"), "200 400 404 default");
    assert_eq!(failures("Library_Follow"), "200 400 409 default");
    let other = operation(&document, "Library_Get")["responses"]["default"].clone();
    assert_eq!(other, json!({"$ref": "#/components/responses/Failure"}));
    let failure = &document["components"]["responses"]["Failure"];
    assert_eq!(failure["content"]["application/json"]["schema"], reference("google.rpc.Status"));
    let text = failure["description"].as_str().unwrap();
    assert!(text.contains("\n- 400: INVALID_ARGUMENT, FAILED_PRECONDITION, OUT_OF_RANGE\n"), "{text}");
}

#[test]
fn streams_are_shown_by_the_line_and_by_the_event() {
    let plain = made(&Options::default());
    let ok = &operation(&plain, "Library_Follow")["responses"]["200"];
    assert_eq!(keys(&ok["content"]), ["application/json"]);
    let line = &ok["content"]["application/json"]["schema"];
    assert_eq!(line["title"], "Stream result of Event");
    assert_eq!(
        line["properties"],
        json!({"result": reference("test.v1.Event"), "error": reference("google.rpc.Status")})
    );
    let refused = &operation(&plain, "Library_Follow")["responses"]["409"]["content"];
    assert_eq!(refused["application/json"]["schema"]["anyOf"][0], reference("google.rpc.Status"));

    let events = EventStreams { id_field: "cursor".to_owned() };
    let document = made(&Options { event_streams: Some(events), ..Options::default() });
    let follow = operation(&document, "Library_Follow");
    let event = &follow["responses"]["200"]["content"]["text/event-stream"]["schema"];
    assert_eq!(keys(&event["properties"]), ["data", "event", "id"]);
    assert_eq!(event["properties"]["data"]["contentSchema"]["anyOf"][0], reference("test.v1.Event"));
    let header = &follow["parameters"][1];
    assert_eq!((&header["name"], &header["in"]), (&json!("Last-Event-ID"), &json!("header")));
}

#[test]
fn a_message_has_a_schema_for_each_way_it_goes() {
    let document = made(&Options::default());
    let nullable = |schema: Value| json!({"anyOf": [schema, {"type": "null"}]});
    let grade = reference("test.v1.Grade");
    let duration = json!({
        "type": "string",
        "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$",
        "description": "Seconds, such as `90s` or `1.500s`.",
    });
    let pages = json!({
        "type": "string",
        "format": "int64",
        "pattern": "^-?[0-9]{1,19}$",
        "deprecated": true,
        "readOnly": true,
    });
    let two_forms = json!({"anyOf": [
        {"required": ["printed_by", "spoken_for"]},
        {"required": ["printed_by", "retold"]},
        {"required": ["spoken_for", "retold"]},
    ]});
    assert_eq!(
        *schema(&document, "test.v1.Book"),
        json!({
            "type": "object",
            "description": "A book.\n\nWith pages.",
            "properties": {
                "name": {"type": "string", "description": "Its name."},
                "grade": {"anyOf": [grade, {"type": "integer", "format": "int32"}]},
                "sequel": nullable(reference("test.v1.Book")),
                "pages": pages,
                "printed_by": {"type": "string"},
                "spoken_for": duration,
                "retold": reference("test.v1.Book"),
            },
            "required": ["name", "grade", "sequel", "pages"],
            "not": two_forms,
        })
    );
    assert_eq!(
        *schema(&document, "test.v1.Book-Input"),
        json!({
            "type": "object",
            "description": "A book.\n\nWith pages.",
            "properties": {
                "name": {"type": "string", "description": "Its name."},
                "grade": grade,
                "sequel": reference("test.v1.Book-Input"),
                "pages": pages,
                "printed_by": {"type": "string"},
                "spoken_for": duration,
                "retold": reference("test.v1.Book-Input"),
            },
            "required": ["name"],
            "not": two_forms,
        })
    );
    assert_eq!(
        *schema(&document, "test.v1.Grade"),
        json!({
            "type": "string",
            "enum": ["GRADE_UNSPECIFIED", "FINE", "POOR"],
            "description": "- `FINE`: Good. Very good.\n- `POOR`: Not good.",
        })
    );
}

#[test]
fn only_what_is_referred_to_is_shown() {
    let document = made(&Options::default());
    let text = document.to_string();
    for name in keys(&document["components"]["schemas"]) {
        let refers = format!("\"#/components/schemas/{name}\"");
        assert!(text.contains(&refers), "{name} is not used");
    }
    for (at, _) in text.match_indices("\"#/components/schemas/") {
        let name = text[at..].split(['/', '"']).nth(4).unwrap();
        schema(&document, name);
    }
    let schemas = &document["components"]["schemas"];
    for absent in [
        "test.v1.Nobody",
        "test.v1.GetRequest",
        "test.v1.Counted",
        "google.api.HttpBody",
        "google.protobuf.Empty",
    ] {
        assert_eq!(schemas.get(absent), None, "{absent}");
    }
}

#[test]
fn options_of_the_gateway_change_the_document() {
    let camel = made_with(JsonOptions { proto_names: false, ..JsonOptions::default() });
    let properties = &schema(&camel, "test.v1.Book")["properties"];
    assert!(properties.get("printedBy").is_some() && properties.get("printed_by").is_none());
    assert_eq!(operation(&camel, "Library_Search")["parameters"][0]["name"], "filter.authorName");

    let sparse = made_with(JsonOptions { emit_unpopulated: false, ..JsonOptions::default() });
    let book = schema(&sparse, "test.v1.Book");
    assert_eq!(book.get("required"), None);
    assert_eq!(book["properties"]["sequel"], reference("test.v1.Book"), "left out, not null");

    let header = HeaderName::from_static("x-http-code");
    let options = Options {
        prefix: "/v2".to_owned(),
        http_code_metadata: Some(header),
        unbound_methods: true,
        healthz: Some("/healthz".to_owned()),
        ..Options::default()
    };
    let other = made(&options);
    let paths = keys(&other["paths"]);
    assert!(paths.contains(&"/v2/v1/books") && paths.contains(&"/healthz"), "{paths:?}");
    assert!(paths.contains(&"/v2/test.v1.Library/Unbound"), "{paths:?}");
    assert!(operation(&other, "Library_Get")["responses"].get("2XX").is_some());
    assert_eq!(operation(&other, "Library_Follow")["responses"].get("2XX"), None);
}

#[test]
fn what_the_caller_adds() {
    let about = OpenApi {
        description: "Mine.".to_owned(),
        paths: vec![("/v1/books".to_owned(), json!({"get": {}})), ("/own".to_owned(), json!({}))],
        security_schemes: Map::from_iter([("key".to_owned(), json!({"type": "http"}))]),
        security: vec![json!({"key": []})],
        ..OpenApi::default()
    };
    let text = document(&library(), &[LIBRARY], &Options::default(), &about).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["info"]["description"], "Mine.");
    assert_eq!(document["paths"]["/v1/books"], json!({"get": {}}), "replaced");
    assert_eq!(document["paths"]["/own"], json!({}));
    assert_eq!(document["components"]["securitySchemes"]["key"]["type"], "http");
    assert_eq!(document["security"], json!([{"key": []}]));
}

#[test]
fn comments_become_texts() {
    let document = made(&Options::default());
    let head = "A library with everything in it that a document has to show.";
    assert_eq!(document["info"], json!({"title": "Books", "version": "1", "description": head}));
    assert_eq!(document["tags"], json!([{"name": "Library", "description": "Keeps books."}]));
    let search = operation(&document, "Library_Search");
    assert_eq!(search["summary"], "Finds books");
    assert_eq!(search["description"], "Finds books. NOT_FOUND: there are none.");
    assert_eq!(search["tags"], json!(["Library"]));
    assert_eq!(operation(&document, "Library_Get").get("summary"), None);
    assert_eq!(operation(&document, "Library_Move")["deprecated"], true);
    let ok = |id: &str| operation(&document, id)["responses"]["200"]["description"].clone();
    assert_eq!((ok("Library_Get"), ok("Library_Search")), (json!("A book."), json!("The call succeeded.")));
}

#[test]
fn a_service_that_is_not_there_is_an_error() {
    let made = document(&library(), &["test.v1.None"], &Options::default(), &OpenApi::default());
    assert!(matches!(made, Err(BuildError::NoService(name)) if name == "test.v1.None"));
}
