use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::gateway::{
    json::JsonOptions,
    sample::{self, shown},
};

static JSON: LazyLock<Json> = LazyLock::new(|| Json::new(&sample::pool(), JsonOptions::default()));

fn mask(text: &str, max: usize) -> Result<String, Failure> {
    mask_of_body(&JSON, JSON.find("sample.All").unwrap(), text.as_bytes(), max).map(|paths| paths.join(" "))
}

#[track_caller]
fn check(text: &str, expect: &str) {
    assert_eq!(mask(text, 1 << 20).as_deref(), Ok(expect), "{text}");
}

#[test]
fn the_fields_that_a_body_speaks_of() {
    check("", "");
    check(" \n", "");
    check("null", "");
    check(r#"{"text":"a"}"#, "text");
    check(r#"{"text":"","i32":0,"d":null,"flag":false}"#, "d flag i32 text");
    check(" { \"text\" : \"}\\\"{\" , \"nums\" : [ 1 , { } ] } {\"i32\":1}", "nums text");
    // Either name, and escapes.
    check(r#"{"longName":"a","\u0069nner":{"long_name":"b"}}"#, "inner.long_name long_name");
    check(
        r#"{"inner":{"inner":{"i32":1,"at":"x"},"text":"a"}}"#,
        "inner.inner.at inner.inner.i32 inner.text",
    );
    check(r#"{"inner":{},"choice_inner":null}"#, "choice_inner inner");
    // Lists and maps are named as a whole.
    check(
        r#"{"nums":[],"labels":{},"alls":[{"text":"a"}],"alls_by_name":{"k":{"i32":1}}}"#,
        "alls alls_by_name labels nums",
    );
    check(r#"{"values":[{"a":1}],"infos":{"1":{"a":1}}}"#, "infos values");
    // So are the well-known types with a text, a number or a list of their own.
    check(
        r#"{"at":"x","span":"1s","mask":"a,b","w_int32":1,"w_bool":null,"list":[1],"nothing":{}}"#,
        "at list mask nothing span w_bool w_int32",
    );
}

#[test]
fn structs_are_named_by_their_keys() {
    check(r#"{"info":{"x":1,"y":{"z":null,"a.b":[{}]}}}"#, "info.x info.y.a.b info.y.z");
    check(r#"{"inner":{"info":{"\u00e9":1}}}"#, "inner.info.é");
    check(r#"{"value":{"x":"{"}}"#, "value.x");
    check(r#"{"value":[{"x":1}]}"#, "value");
    check(r#"{"value":null,"info":null}"#, "info value");
    // An object without keys is nothing.
    check(r#"{"info":{},"value":{"a":{}},"text":"a"}"#, "text");
}

#[test]
fn an_any_is_named_by_its_key() {
    check(r#"{"any":{"@type":"t","x":{"y":1}}}"#, "any");
    check(r#"{"inner":{"any":{"x":[{}],"@type":"t"},"text":"a"}}"#, "any inner.text");
    check(r#"{"wDouble":1,"any":null}"#, "any w_double");
    let failure = mask(r#"{"any":{"x":{"@type":"t"}}}"#, 1 << 20).unwrap_err();
    assert_eq!((failure.code, failure.message.contains("could not find field @type in \"any\"")), (3, true));
}

#[test]
fn an_object_without_anything_is_one_empty_path() {
    let paths = mask_of_body(&JSON, JSON.find("sample.All").unwrap(), b" { } ", 100).unwrap();
    assert_eq!(paths, [""]);
}

#[test]
fn refusals() {
    let cases = [
        (r#"{"zzz":1}"#, r#"could not find field "zzz" in "sample.All""#),
        (r#"{"text":"a","inner":{"inner":{"zzz":{}}}}"#, r#"could not find field "zzz" in "sample.All""#),
        (r#"{"at":{"zzz":1}}"#, r#"could not find field "zzz" in "google.protobuf.Timestamp""#),
        (r#"{"text":{"a":1}}"#, "an object does not fit the field \"text\""),
        ("{", "not JSON"),
        (r#"{"text""#, "not JSON"),
        (r#"{"text":"#, "not JSON"),
        (r#"{"text":"a"#, "not JSON"),
        (r#"{"text":"a\"#, "not JSON"),
        (r#"{"nums":[1"#, "not JSON"),
        (r#"{"nums":]"#, "not JSON"),
        (r#"{"text":"a",,}"#, "not JSON"),
        (r#"{"\ud800":1}"#, "not JSON"),
    ];
    for (text, expect) in cases {
        let failure = mask(text, 1 << 20).unwrap_err();
        assert!(failure.code == 3 && failure.message.contains(expect), "{text}: {}", failure.message);
    }
}

#[test]
fn depth_and_size_are_bounded() {
    let deep = |levels: usize| format!("{{\"info\":{}1{}}}", "{\"a\":".repeat(levels), "}".repeat(levels));
    assert_eq!(mask(&deep(100_000), 1 << 20).unwrap().len(), 4 + 2 * 100_000);
    let arrays = format!("{{\"info\":{{\"a\":{}{}}}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(mask(&arrays, 1 << 20).unwrap(), "info.a");
    // Each key at the bottom of that has a path as long as the way to it.
    let leaves = "\"b\":1,".repeat(10_000);
    let wide = format!("{{\"info\":{}{{{leaves}\"c\":1}}{}}}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    assert_eq!(mask(&wide, 1 << 20).unwrap_err().code, 8);
    assert!(mask(r#"{"text":1}"#, 6).is_ok());
    assert_eq!(mask(r#"{"text":1}"#, 5).unwrap_err().code, 8);
}

#[test]
fn where_the_mask_goes() {
    let place = |request: &str, body: &str| {
        let request = JSON.schema().message(JSON.find(&format!("sample.{request}")).unwrap());
        mask_field(JSON.schema(), request, &FieldPath::resolve(JSON.schema(), request, body).unwrap())
    };
    assert_eq!(place("Update", "item"), Some(2));
    // The mask itself, no message, a list, a field of the item, two masks, many, one of a oneof.
    let none = [
        ("Update", "update_mask"),
        ("Update", "id"),
        ("Update", "item.inner"),
        ("All", "alls"),
        ("TwoMasks", "item"),
        ("ListOfMasks", "item"),
        ("ChosenMask", "item"),
        ("OnlyId", "id"),
    ];
    for (request, body) in none {
        assert_eq!(place(request, body), None, "{request} {body}");
    }
}

#[test]
fn the_mask_is_set() {
    let update = JSON.find("sample.Update").unwrap();
    // item = { text: "a" }
    let mut draft = Draft::new(&JSON, update, b"\x12\x03\x72\x01a".to_vec());
    fill(&mut draft, 2, &["text".to_owned(), "i32".to_owned()]);
    let expect = r#"{"item":{"text":"a"},"update_mask":"text,i32"}"#;
    assert_eq!(shown("Update", &draft.finish(false).unwrap()), expect);
    let mut draft = Draft::new(&JSON, update, Vec::new());
    fill(&mut draft, 2, &[]);
    assert_eq!(shown("Update", &draft.finish(false).unwrap()), r#"{"update_mask":""}"#);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    #[test]
    fn any_text_is_answered(
        text in r#"[{ ](("text"|"inner"|"info"|"any"|"alls"|"@type"|"x"|:|:|,|\{|\{|\}|\}|\[|\]|1|null|"|\\| )){0,24}"#
    ) {
        let _ = mask(&text, 1000);
    }
}
