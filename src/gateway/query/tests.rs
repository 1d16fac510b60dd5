use std::sync::LazyLock;

use proptest::prelude::*;
use prost_reflect::DynamicMessage;
use serde_json::Value;

use super::*;
use crate::gateway::{
    form,
    json::{Json, JsonOptions},
    sample::{self, shown},
};

static JSON: LazyLock<Json> = LazyLock::new(|| Json::new(&sample::pool(), JsonOptions::default()));

fn draft(name: &str) -> Draft<'static> {
    Draft::new(&JSON, JSON.find(&format!("sample.{name}")).unwrap(), Vec::new())
}

fn bound(query: &str) -> Result<Value, (i32, String)> {
    let wrong = |failure: Failure| {
        assert!(failure.details.is_empty());
        (failure.code, failure.message)
    };
    let mut draft = draft("All");
    bind(&mut draft, &form::parse(query.as_bytes()).map_err(wrong)?, &[]).map_err(wrong)?;
    let encoded = draft.finish(false).map_err(wrong)?;
    Ok(value(&shown("All", &encoded)))
}

fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

#[track_caller]
fn check(query: &str, expect: &str) {
    assert_eq!(bound(query), Ok(value(expect)), "{query}");
}

#[track_caller]
fn refuse(query: &str, expect: &str) {
    let (code, message) = bound(query).unwrap_err();
    assert!(code == 3 && message.contains(expect), "{query}: {code} {message}");
}

#[test]
fn scalars() {
    check("", "{}");
    check(
        "i32=-5&i64=%2B7&u32=007&u64=18446744073709551615",
        r#"{"i32":-5,"i64":"7","u32":7,"u64":"18446744073709551615"}"#,
    );
    check(
        "s32=-2147483648&s64=-1&fx32=4294967295&fx64=1",
        r#"{"s32":-2147483648,"s64":"-1","fx32":4294967295,"fx64":"1"}"#,
    );
    check("sf32=-1&sf64=-9223372036854775808", r#"{"sf32":-1,"sf64":"-9223372036854775808"}"#);
    check("d=0x1p-2&f=1_0.5", r#"{"d":0.25,"f":10.5}"#);
    check("d=nan&f=-InFinity", r#"{"d":"NaN","f":"-Infinity"}"#);
    check("text=a+b%20c%2B&long_name=", r#"{"text":"a b c+"}"#);
    check("data=-_8%3D", r#"{"data":"+/8="}"#);
    check("data=A%0AR%0D==", r#"{"data":"AQ=="}"#);
    check("data=", "{}");
    check("kind=LARGE", r#"{"kind":"LARGE"}"#);
    check("kind=-1", r#"{"kind":"MINUS"}"#);
    for yes in ["1", "t", "T", "TRUE", "true", "True"] {
        check(&format!("flag={yes}"), r#"{"flag":true}"#);
    }
    for no in ["0", "f", "F", "FALSE", "false", "False"] {
        check(&format!("flag={no}"), "{}");
    }
    check("maybe=0", r#"{"maybe":0}"#);
    let refused = [
        "i32",
        "i32=",
        "i32=x",
        "i32=1.0",
        "i32=1_0",
        "i32=0x10",
        "i32=2147483648",
        "i32=-2147483649",
        "i32=+1",
        "i32=%2B",
        "i64=9223372036854775808",
        "u32=-1",
        "u32=%2B1",
        "u32=-0",
        "u32=4294967296",
        "u64=18446744073709551616",
        "fx32=-1",
        "sf32=1e3",
        "i32=%D9%A3",
        "i32=%ff",
        "d=",
        "d=1e400",
        "d=0x10",
        "f=1e39",
        "d=1,5",
        "d=%ff",
        "flag=",
        "flag=yes",
        "flag=tRUE",
        "flag=+1",
        "flag=%ff",
        "kind=",
        "kind=large",
        "kind=2",
        "kind=1000000000000",
        "kind=0x1",
        "data=AQI",
        "data=A",
        "data=====",
        "data=-/8%3D",
        "data=AQI%3D%20",
        "data=%ff",
    ];
    for query in refused {
        let field = query.split('=').next().unwrap_or_default();
        refuse(query, &format!("parsing field {field:?}: \""));
    }
}

#[test]
fn names() {
    check("longName=a", r#"{"long_name":"a"}"#);
    check("inner.longName=a&inner.inner.i32=1", r#"{"inner":{"long_name":"a","inner":{"i32":1}}}"#);
    check("inner.i32=1&text=b&inner.u32=2", r#"{"text":"b","inner":{"i32":1,"u32":2}}"#);
    // Both names are one field, and the later one counts.
    check("long_name=a&longName=b", r#"{"long_name":"b"}"#);
    check("nope=1&LongName=2&inner_=3&=4&.=5&..=6&[]=7&%ff=8", "{}");
    // The way to nowhere comes into being.
    check("inner.nope=1", r#"{"inner":{}}"#);
    check("inner.inner.=1", r#"{"inner":{"inner":{}}}"#);
    check("inner.%ff.i32=1", r#"{"inner":{}}"#);
    check("inner..i32=1", r#"{"inner":{}}"#);
    check("nope.inner.i32=1", "{}");
    check("at.nope=1", r#"{"at":"1970-01-01T00:00:00Z"}"#);
    refuse("text.x=1", r#"invalid path: "text" is not a message"#);
    refuse("labels.x=1", r#"invalid path: "labels" is not a message"#);
    refuse("alls.i32=1", r#"invalid path: "alls" is not a message"#);
    refuse("inner.longName.nope=1", r#"invalid path: "longName" is not a message"#);
}

#[test]
fn one_value_or_many() {
    check("nums=1&nums=-2&nums=3", r#"{"nums":[1,-2,3]}"#);
    check("texts=a,b&texts=", r#"{"texts":["a,b",""]}"#);
    check("kinds=1&kinds=LARGE&kinds=0", r#"{"kinds":["ONE","LARGE","NONE"]}"#);
    check("ds=inf&ds=1", r#"{"ds":["Infinity",1.0]}"#);
    check(
        "times=1970-01-01T00:00:01Z&times=1970-01-01T00:00:02Z",
        r#"{"times":["1970-01-01T00:00:01Z","1970-01-01T00:00:02Z"]}"#,
    );
    check("values=1&values=null", r#"{"values":[1.0,null]}"#);
    check("nums[1]=2&nums=3", r#"{"nums":[1,2,3]}"#);
    refuse("i32=1&i32=2", r#"too many values for field "i32": 1, 2"#);
    refuse("maybe=1&maybe=1", r#"too many values for field "maybe": 1, 1"#);
    refuse("i32[1]=2", r#"too many values for field "i32": 1, 2"#);
    refuse("text[]", r#"too many values for field "text": , "#);
    refuse("nums=1,2", r#"parsing list "nums": "1,2" is not"#);
    refuse("nums[]=1", r#"parsing list "nums": "" is not"#);
    refuse("kinds=ONE&kinds=one", r#"parsing list "kinds": "one" is not"#);
    refuse("alls=x", "parsing list \"alls\": a sample.All cannot");
}

#[test]
fn maps() {
    check("labels[a]=1&labels[b.c]=&labels[]=3", r#"{"labels":{"":"3","a":"1","b.c":""}}"#);
    check("labels[[x]=1", "{}");
    check("labels[x]]=1", r#"{"labels":{"x]":"1"}}"#);
    check("labels%5Bk%5D=v", r#"{"labels":{"k":"v"}}"#);
    check(
        "kindsByNumber[-7]=ONE&kinds_by_number[%2B8]=1000",
        r#"{"kinds_by_number":{"-7":"ONE","8":"LARGE"}}"#,
    );
    check("times_by_flag[T]=1970-01-01T00:00:01Z", r#"{"times_by_flag":{"true":"1970-01-01T00:00:01Z"}}"#);
    check(r#"infos[3]={"a":[]}"#, r#"{"infos":{"3":{"a":[]}}}"#);
    check(r#"info.fields[a]=1&info.fields[b]={"c":null}"#, r#"{"info":{"a":1.0,"b":{"c":null}}}"#);
    // Two values without a key are a key and a value.
    check("labels=k&labels=v", r#"{"labels":{"k":"v"}}"#);
    // Two spellings of one key: the later one counts.
    check("kinds_by_number[1]=ONE&kinds_by_number[01]=MINUS", r#"{"kinds_by_number":{"1":"MINUS"}}"#);
    refuse("labels=x", r#"the map "labels" is given as labels[key]=value"#);
    refuse("labels[a]=1&labels[a]=2", r#"too many values for one key of the map "labels": 1, 2"#);
    refuse("labels=1&labels=2&labels=3", r#"too many values for one key of the map "labels": 2, 3"#);
    refuse("kinds_by_number[x]=ONE", r#"parsing map "kinds_by_number": "x" is not"#);
    refuse("kinds_by_number[1]=x", r#"parsing map "kinds_by_number": "x" is not"#);
    refuse("times_by_flag[]=1970-01-01T00:00:01Z", r#"parsing map "times_by_flag": "" is not true or false"#);
    refuse("alls_by_name[a]=x", r#"parsing map "alls_by_name": a sample.All cannot"#);
    // A line end is no part of a key with brackets.
    check("labels%0A[a]=1&labels[%0A]=2", "{}");
}

#[test]
fn messages_spelled_as_one_text() {
    check("at=2026-01-02T03:04:05.5%2B02:00", r#"{"at":"2026-01-02T01:04:05.500Z"}"#);
    check("span=1m30s", r#"{"span":"90s"}"#);
    check("span=-1.5s", r#"{"span":"-1.500s"}"#);
    check("mask=long_name,inner.i32", r#"{"mask":"longName,inner.i32"}"#);
    check("value=null", r#"{"value":null}"#);
    check(r#"value="x""#, r#"{"value":"x"}"#);
    check(r#"info= {"a":{"b":[1]}} "#, r#"{"info":{"a":{"b":[1.0]}}}"#);
    check("nothing", r#"{"nothing":{}}"#);
    check("nothing={}", r#"{"nothing":{}}"#);
    check(
        "w_double=0&w_float=1e3&w_int64=-1&w_uint64=1",
        r#"{"w_double":0.0,"w_float":1000.0,"w_int64":"-1","w_uint64":"1"}"#,
    );
    check(
        "w_int32=0&w_uint32=0&w_bool=f&w_string=&w_bytes=",
        r#"{"w_int32":0,"w_uint32":0,"w_bool":false,"w_string":"","w_bytes":""}"#,
    );
    let refused = [
        "at=yesterday",
        "at=",
        "at=2026-01-02T03:04:05+02:00",
        "span=90",
        "span=",
        "span=1d",
        "value=",
        "value=x",
        "value={}x",
        "info=",
        "info=[]",
        "info=null",
        "info=a",
        "info=%ff",
        "nothing=x",
        "nothing=%20",
        "w_int32=",
        "w_bool=x",
        "w_uint32=-1",
        "w_bytes=A",
        "w_double=",
        "list=[]",
        "any={}",
        "inner={}",
        "inner=",
    ];
    for query in refused {
        let field = query.split('=').next().unwrap_or_default();
        refuse(query, &format!("parsing field {field:?}: "));
    }
    // They are messages all the same.
    check(
        "at.seconds=5&w_int32.value=7&mask.paths=text&mask.paths=i32",
        r#"{"at":"1970-01-01T00:00:05Z","mask":"text,i32","w_int32":7}"#,
    );
    check("span=1.5s&span.seconds=2", r#"{"span":"2.500s"}"#);
    check("span.nanos=2&span=1s", r#"{"span":"1s"}"#);
    check("mask=text&mask.paths=i32", r#"{"mask":"text,i32"}"#);
    check("mask.paths=i32&mask=text", r#"{"mask":"text"}"#);
    check(r#"info={"a":1}&info.fields[b]=2"#, r#"{"info":{"a":1.0,"b":2.0}}"#);
    refuse("value=1&value.string_value=x", r#"field already set for oneof "kind""#);
}

#[test]
fn oneofs() {
    check("choice_text=a", r#"{"choice_text":"a"}"#);
    check("choice_text=", r#"{"choice_text":""}"#);
    check("choice_inner.i32=1&choice_inner.u32=2", r#"{"choice_inner":{"i32":1,"u32":2}}"#);
    check("choice_span=1s&choiceSpan=2s", r#"{"choice_span":"2s"}"#);
    check("choice_text=a&inner.choice_text=b", r#"{"inner":{"choice_text":"b"},"choice_text":"a"}"#);
    for query in [
        "choice_text=a&choice_number=1",
        "choice_text=a&choiceText=b",
        "choice_inner.i32=1&choice_text=a",
        "choice_inner.nope=1&choice_text=a",
        "choice_span=1s&choice_inner.i32=1",
        "choice_number=1&choice_span.seconds=1",
        // The value is not looked at any more.
        "choice_number=1&choice_text=%ff",
    ] {
        refuse(query, r#"field already set for oneof "choice""#);
        refuse(
            &query.replace("choice_", "inner.choice_").replace("&choiceT", "&inner.choiceT"),
            "oneof \"choice\"",
        );
    }
}

#[test]
fn what_the_body_says_is_known() {
    let with_body = |body: &[u8], query: &str| {
        let mut draft = Draft::new(&JSON, JSON.find("sample.All").unwrap(), body.to_vec());
        let values = form::parse(query.as_bytes()).unwrap();
        bind(&mut draft, &values, &[]).map_err(|failure| failure.message)?;
        Ok::<_, String>(shown("All", &draft.finish(false).unwrap()))
    };
    // choice_number = 5, and inner, in two pieces: { nums: [1] }, { text: "a" }.
    let body = b"\xf0\x03\x05\xe2\x03\x03\xa0\x01\x01\x18\x09\xe2\x03\x03\x72\x01a";
    assert_eq!(
        with_body(body, "inner.nums=2&inner.i32=3&u32=4").as_deref(),
        Ok(r#"{"i32":9,"u32":4,"inner":{"i32":3,"text":"a","nums":[1,2]},"choice_number":5}"#)
    );
    for query in ["choice_text=x", "choice_number=5", "choice_inner.i32=1"] {
        assert!(with_body(body, query).unwrap_err().contains("oneof"), "{query}");
    }
    // mask = { paths: "text" }.
    let body = b"\xd2\x02\x06\x0a\x04text";
    assert_eq!(with_body(body, "mask=i32").as_deref(), Ok(r#"{"mask":"i32"}"#));
    assert_eq!(with_body(body, "mask.paths=i32").as_deref(), Ok(r#"{"mask":"text,i32"}"#));
}

#[test]
fn what_is_not_utf8_fails_last() {
    let internal = "grpc: error while marshaling: string field contains invalid UTF-8".to_owned();
    for query in [
        "text=%ff",
        "texts=a&texts=%ff",
        "labels[%ff]=1",
        "labels[a]=%ff",
        "w_string=%ff",
        "mask=a,%ff",
        "inner.text=%ff",
    ] {
        assert_eq!(bound(query), Err((13, internal.clone())), "{query}");
        // Whatever else is wrong comes first.
        refuse(&format!("{query}&i32=x"), "\"x\" is not");
        let mut draft = draft("All");
        bind(&mut draft, &form::parse(query.as_bytes()).unwrap(), &[]).unwrap();
        let failure = draft.finish(true).unwrap_err();
        let field =
            query.split(['=', '[']).next().and_then(|name| name.rsplit('.').next()).unwrap_or_default();
        assert_eq!(
            (failure.code, failure.message.contains(field)),
            (3, true),
            "{query}: {}",
            failure.message
        );
    }
}

#[test]
fn what_path_and_body_fill_is_passed_over() {
    let schema = JSON.schema();
    let all = schema.message(JSON.find("sample.All").unwrap());
    let with_taken = |taken: &[&str], query: &str| {
        let taken: Vec<_> = taken.iter().map(|path| FieldPath::resolve(schema, all, path).unwrap()).collect();
        let mut draft = draft("All");
        let values = form::parse(query.as_bytes()).unwrap();
        bind(&mut draft, &values, &taken).map_err(|failure| failure.message)?;
        Ok::<_, String>(shown("All", &draft.finish(false).unwrap()))
    };
    for query in [
        "long_name=1",
        "longName=1&longName=2",
        "long_name[x]=1",
        "long_name.x=1",
        "inner=x",
        "inner.i32=x",
        "inner.inner.u32=x",
        "inner.nope=1",
        "labels[a]=1",
        "labels=1",
        "labels.x=1",
    ] {
        assert_eq!(with_taken(&["long_name", "inner", "labels"], query).as_deref(), Ok("{}"), "{query}");
    }
    // A name that leads nowhere is not brought into the proto's spelling.
    assert!(with_taken(&["long_name"], "longName.x=1").is_err());
    let expect = Ok(r#"{"inner":{"i32":1}}"#);
    assert_eq!(with_taken(&["inner.text"], "inner.i32=1&inner.text=a").as_deref(), expect);
    // Beside a longer path, the shorter one does not count for what goes along with both.
    assert_eq!(with_taken(&["inner", "inner.text"], "inner.i32=x&inner.text=a").as_deref(), Ok("{}"));
    let expect = Ok(r#"{"inner":{"inner":{"i32":1}}}"#);
    assert_eq!(
        with_taken(&["inner", "inner.inner.text"], "inner.inner.i32=1&inner.i32=x").as_deref(),
        expect
    );
}

#[test]
fn whether_the_query_is_looked_at() {
    let schema = JSON.schema();
    for (name, taken, expect) in [
        ("OnlyId", &[][..], true),
        ("OnlyId", &["id"], false),
        ("Nothing", &[], false),
        ("Update", &["id", "item"], true),
        ("Update", &["id", "item", "update_mask", "dry"], false),
        ("Update", &["id", "item.text", "update_mask", "dry"], true),
    ] {
        let message = schema.message(JSON.find(&format!("sample.{name}")).unwrap());
        let taken: Vec<_> =
            taken.iter().map(|path| FieldPath::resolve(schema, message, path).unwrap()).collect();
        assert_eq!(applies(message, &taken), expect, "{name} {taken:?}");
    }
}

#[test]
fn depth_is_bounded() {
    let deep = |levels: usize| {
        let mut draft = draft("All");
        let values = form::parse(format!("{}i32=1", "inner.".repeat(levels)).as_bytes()).unwrap();
        bind(&mut draft, &values, &[]).map_err(|failure| failure.message)?;
        Ok::<_, String>(draft.finish(false).unwrap())
    };
    assert!(deep(10_000).unwrap().len() > 20_000);
    assert!(deep(10_001).unwrap_err().contains("more than 10000 nested messages"));
}

fn decodes(query: &str) {
    let mut draft = draft("All");
    let Ok(values) = form::parse(query.as_bytes()) else { return };
    if bind(&mut draft, &values, &[]).is_ok()
        && let Ok(encoded) = draft.finish(false)
    {
        let all = sample::pool().get_message_by_name("sample.All").unwrap();
        DynamicMessage::decode(all, encoded.as_slice()).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    #[test]
    fn any_query_is_answered(query in r"[a-c%\[\].=&;+0-9ü]{0,30}") {
        decodes(&query);
    }

    #[test]
    fn any_field_is_answered(
        pairs in prop::collection::vec((0..ALL.len(), "(inner\\.|choice_inner\\.){0,3}", "(\\[[0-9aT]?\\])?", "[-+0-9a-zA-Z.,:{}\\[\\]\"%]{0,12}"), 0..6),
    ) {
        let query: Vec<_> = pairs.iter().map(|(field, way, index, value)| format!("{way}{}{index}={value}", ALL[*field])).collect();
        decodes(&query.join("&"));
    }
}

const ALL: [&str; 22] = [
    "i32",
    "s64",
    "fx32",
    "d",
    "f",
    "flag",
    "text",
    "data",
    "kind",
    "nums",
    "labels",
    "kinds_by_number",
    "infos",
    "at",
    "span",
    "mask",
    "info",
    "value",
    "w_bytes",
    "choice_text",
    "choice_span",
    "value.list_value.values",
];
