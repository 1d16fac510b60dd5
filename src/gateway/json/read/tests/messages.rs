//! What holds messages together: names, nulls, lists, maps, oneofs, `Any`.

use super::*;

#[track_caller]
fn lenient(text: &str, expect: Result<&str, &str>) {
    check(&LENIENT, KINDS, text, expect);
}

#[test]
fn a_field_has_two_names() {
    lenient(r#"{"an_int32":1,"aString":"x"}"#, Ok(r#"{"an_int32":1,"a_string":"x"}"#));
    lenient(r#"{"\u0061nInt32":1}"#, Ok(r#"{"an_int32":1}"#));
    lenient(r#"{"AnInt32":1,"an_Int32":2}"#, Ok("{}"));
    lenient(
        r#"{"an_int32":1,"an_int32":1}"#,
        Err(r#"an_int32: the field "an_int32" comes twice; "anInt32" is the same"#),
    );
    lenient(r#"{"an_int32":1,"anInt32":1}"#, Err(r#"anInt32: the field "an_int32" comes twice"#));
    lenient(r#"{"an_int32":null,"anInt32":1}"#, Err("comes twice"));
    lenient(r#"{"color":1,"color":null}"#, Err(r#"the field "color" comes twice"#));
    lenient(r#"{"child":{"color":1},"color":1}"#, Ok(r#"{"child":{"color":"RED"},"color":"RED"}"#));
    // The JSON name has precedence.
    lenient(r#"{"this":1,"that":"x"}"#, Ok(r#"{"this":"x","that":1}"#));
    lenient(r#"{"this":"x"}"#, Err("this: \"x\" is not a whole number"));
}

#[test]
fn unknown_fields() {
    for unknown in ["1", "1e400", "[{\"a\":null,\"a\":[]}]", "\"\\ud83d\\ude00\"", "9007199254740993"] {
        let text = format!("{{\"zz\":{unknown},\"a_bool\":true,\"zz\":{{}},\"[kinds.v1.x]\":1}}");
        lenient(&text, Ok(r#"{"a_bool":true}"#));
        check(&STRICT, KINDS, text, Err("zz: kinds.v1.Kinds has no field \"zz\""));
    }
    check(&STRICT, KINDS, r#"{"child":{"y":1}}"#, Err("child.y: kinds.v1.Kinds has no field \"y\""));
    check(&STRICT, KINDS, r#"{"empty":{"y":1}}"#, Err("empty.y: google.protobuf.Empty has no field \"y\""));
    lenient(r#"{"empty":{"y":1}}"#, Ok(r#"{"empty":{}}"#));
    for (unknown, expect) in [
        ("\"\\ud800\"", "zz: \\ud800 is half of a surrogate pair"),
        ("[1,]", "zz[1]: ']' where a value was expected"),
        ("{\"a\":01}", "zz: '1' where ',' or '}' was expected"),
        ("\"a\nb\"", "zz: a control character"),
    ] {
        lenient(&format!("{{\"zz\":{unknown}}}"), Err(expect));
    }
    check(&LENIENT, KINDS, b"{\"zz\":[\"\xff\"]}", Err("zz[0]: the text is not valid UTF-8"));
}

#[test]
fn null_is_unset() {
    let fields = POOL.get_message_by_name(KINDS).unwrap();
    for field in fields.fields() {
        let text = format!("{{\"{}\":null}}", field.name());
        let expect = match field.name() {
            "chosen_null" | "chosen_value" | "value" => Ok(text.as_str()),
            "values" | "nothings" => Err("null where a list was expected"),
            _ => Ok("{}"),
        };
        lenient(&text, expect);
    }
    lenient(r#"{"strings":["a",null]}"#, Err("strings[1]: null where a string"));
    lenient(r#"{"children":[null]}"#, Err("children[0]: null where an object"));
    lenient(r#"{"colors":[null]}"#, Err("colors[0]: null where a name or a number"));
    lenient(r#"{"strings_by_string":{"a":null}}"#, Err("strings_by_string.a: null where a string"));
    lenient(r#"{"nothings":[null,0]}"#, Ok(r#"{"nothings":[null,null]}"#));
    lenient(r#"{"nothing_by_string":{"a":null}}"#, Ok(r#"{"nothing_by_string":{"a":null}}"#));
}

#[test]
fn presence() {
    lenient(
        r#"{"maybe_int32":0,"maybe_string":"","maybe_color":0,"maybe_bytes":"","maybe_double":0,"child":{}}"#,
        Ok(
            r#"{"maybe_int32":0,"maybe_string":"","maybe_color":"COLOR_UNSPECIFIED","maybe_bytes":"","maybe_double":0.0,"child":{}}"#,
        ),
    );
    lenient(r#"{"chosen_int64":0}"#, Ok(r#"{"chosen_int64":"0"}"#));
    lenient(r#"{"chosen_empty":{}}"#, Ok(r#"{"chosen_empty":{}}"#));
}

#[test]
fn one_of_a_oneof() {
    lenient(r#"{"chosen_string":"a","chosen_int64":null}"#, Ok(r#"{"chosen_string":"a"}"#));
    lenient(r#"{"chosen_int64":null,"chosen_string":"a"}"#, Ok(r#"{"chosen_string":"a"}"#));
    lenient(r#"{"maybe_int32":1,"maybe_string":"a"}"#, Ok(r#"{"maybe_int32":1,"maybe_string":"a"}"#));
    lenient(
        r#"{"chosen_string":"a","chosenInt64":1}"#,
        Err(r#"chosenInt64: "chosenInt64": another field of "choice" is set already"#),
    );
    lenient(r#"{"chosen_null":null,"chosen_value":null}"#, Err("another field of \"choice\""));
    // A name that is passed over counts.
    lenient(r#"{"chosen_color":"NOPE","chosen_int64":1}"#, Err("another field of \"choice\""));
}

#[test]
fn lists() {
    lenient(
        r#"{"doubles":[1,"NaN"],"int32s":[1,-1],"sint32s":[-1],"fixed32s":[7],"sfixed64s":["-7"],"bools":[true,false]}"#,
        Ok(
            r#"{"doubles":[1.0,"NaN"],"int32s":[1,-1],"sint32s":[-1],"fixed32s":[7],"sfixed64s":["-7"],"bools":[true,false]}"#,
        ),
    );
    lenient(
        r#"{"strings":["","a"],"many_bytes":["AQ",""]}"#,
        Ok(r#"{"strings":["","a"],"many_bytes":["AQ==",""]}"#),
    );
    lenient(r#"{"children":[{},{"children":[{}]}]}"#, Ok(r#"{"children":[{},{"children":[{}]}]}"#));
    lenient(r#"{"loose_int32s":[0,1],"int32s":[]}"#, Ok(r#"{"loose_int32s":[0,1]}"#));
    lenient(r#"{"int32s":1}"#, Err("int32s: 1 where a list was expected"));
    lenient(r#"{"int32s":[1,[2]]}"#, Err("int32s[1]: a list where a whole number"));
    lenient(r#"{"children":[{},{"int32s":[0,1,2.5]}]}"#, Err("children[1].int32s[2]: 2.5 is not"));
}

#[test]
fn maps() {
    lenient(
        r#"{"strings_by_int32":{"-1":"a","+2":"b","03":"c"},"bytes_by_uint32":{"4294967295":"AQ"},"kinds_by_bool":{"true":{"a_bool":true},"false":{}}}"#,
        Ok(
            r#"{"strings_by_int32":{"-1":"a","2":"b","3":"c"},"bytes_by_uint32":{"4294967295":"AQ=="},"kinds_by_bool":{"true":{"a_bool":true},"false":{}}}"#,
        ),
    );
    lenient(
        r#"{"bools_by_sint32":{"-2147483648":true},"floats_by_fixed64":{"18446744073709551615":0.5},"fixed32s_by_sfixed32":{"-1":1},"doubles_by_uint64":{"1":0}}"#,
        Ok(
            r#"{"bools_by_sint32":{"-2147483648":true},"floats_by_fixed64":{"18446744073709551615":0.5},"fixed32s_by_sfixed32":{"-1":1},"doubles_by_uint64":{"1":0.0}}"#,
        ),
    );
    lenient(
        r#"{"timestamps_by_string":{"a":"1970-01-01T00:00:00Z"}}"#,
        Ok(r#"{"timestamps_by_string":{"a":"1970-01-01T00:00:00Z"}}"#),
    );
    lenient(
        r#"{"strings_by_string":{"a":"x","a":"x"}}"#,
        Err(r#"strings_by_string.a: the key "a" comes twice"#),
    );
    lenient(
        r#"{"strings_by_int32":{"1":"x","+1":"y"}}"#,
        Err(r#"strings_by_int32.+1: the key "+1" comes twice"#),
    );
    for (map, key) in [
        ("strings_by_int32", "2147483648"),
        ("strings_by_int32", "1.0"),
        ("strings_by_int32", " 1"),
        ("strings_by_int32", ""),
        ("bytes_by_uint32", "+1"),
        ("bytes_by_uint32", "-0"),
        ("kinds_by_bool", "1"),
        ("kinds_by_bool", "True"),
    ] {
        lenient(&format!("{{\"{map}\":{{\"{key}\":null}}}}"), Err("as a key"));
    }
    // A name that is passed over takes its key along.
    lenient(r#"{"colors_by_int64":{"1":"NOPE","1":"RED"}}"#, Ok(r#"{"colors_by_int64":{"1":"RED"}}"#));
    lenient(r#"{"colors_by_int64":{"1":"RED","1":"NOPE"}}"#, Err("comes twice"));
    lenient(r#"{"strings_by_string":[]}"#, Err("strings_by_string: a list where an object"));
}

#[test]
fn many_keys() {
    let entries = |count: u32, last: u32| {
        let entries: Vec<String> = (0..count).chain([last]).map(|key| format!("\"k{key}\":\"v\"")).collect();
        format!("{{{}}}", entries.join(","))
    };
    for (count, last, is_good) in
        [(15, 15, true), (16, 0, false), (17, 16, false), (5000, 5000, true), (5000, 17, false)]
    {
        let entries = entries(count, last);
        for text in [format!("{{\"strings_by_string\":{entries}}}"), format!("{{\"struct\":{entries}}}")] {
            let expect = format!("the key \"k{last}\" comes twice");
            let expect = if is_good { Ok(text.as_str()) } else { Err(expect.as_str()) };
            lenient(&text, expect);
        }
    }
}

const KINDS_URL: &str = r#""@type":"type.googleapis.com/kinds.v1.Kinds""#;

#[test]
fn any_of_a_message() {
    let any = |members: &str| format!("{{\"any\":{{{}}}}}", members.replace("KINDS", KINDS_URL));
    let good = any(r#"KINDS,"a_string":"x","an_int32":5"#);
    for text in [
        good.as_str(),
        &any(r#""a_string":"x",KINDS,"anInt32":5"#),
        &any(r#""aString":"x","an_int32":5,"zz":[{"@type":1}],KINDS"#),
    ] {
        lenient(text, Ok(&good));
    }
    let inner = any(r#"KINDS,"any":{KINDS,"any":{KINDS}}"#);
    lenient(&inner, Ok(&inner));
    let inner = any(r#"KINDS,"any":{KINDS,"any":{KINDS,"a_string":"z"}}"#);
    lenient(&any(r#""any":{"any":{"a_string":"z",KINDS},KINDS},KINDS"#), Ok(&inner));
    // The empty Any has no JSON there.
    let empty = |text: &str| {
        let encoded = LENIENT.read(LENIENT.find("google.protobuf.Any").unwrap(), text.as_bytes());
        assert_eq!(encoded, Ok(vec![]), "{text}");
    };
    empty("{}");
    empty("{\"a_string\":{\"@type\":1}}");
    let short = LENIENT.read(LENIENT.find(KINDS).unwrap(), br#"{"any":{"@type":"kinds.v1.Kinds"}}"#).unwrap();
    assert_eq!(short, b"\x82\x05\x12\x0a\x0ekinds.v1.Kinds\x12\x00");
    check(&STRICT, KINDS, "{\"any\":{\"a_string\":1}}", Err("any: the object has no \"@type\""));
    for (members, expect) in [
        (r#"KINDS,"zz":{},KINDS"#, "any.@type: the key \"@type\" comes twice"),
        (r#""a_string":"",KINDS,KINDS"#, "any.@type: the key \"@type\" comes twice"),
        (r#""@type":"""#, "any.@type: the type is empty"),
        (r#""@type":5"#, "any.@type: 5 where a string"),
        (r#""a":1,"@type":null"#, "any.@type: null where a string"),
        (r#""@type":"a/no.Such""#, "any.@type: the type \"a/no.Such\" is not known here"),
        (r#""@type":"a/kinds.v1.Kinds/""#, "is not known here"),
        (r#""@type":"kinds.v1.Color""#, "is not known here"),
        (r#"KINDS,"a_string":5"#, "any.a_string: 5 where a string"),
        (r#"KINDS,"a_string":"","aString":"""#, "comes twice"),
        (r#""a":tru"#, "any.a: 't' where a value"),
    ] {
        lenient(&any(members), Err(expect));
    }
    lenient("{\"any\":[]}", Err("any: a list where an object"));
}

#[test]
fn any_of_a_well_known_type() {
    let url = |name: &str| format!("\"@type\":\"type.googleapis.com/google.protobuf.{name}\"");
    for (name, value) in [
        ("Int32Value", "5"),
        ("Timestamp", "\"2026-01-02T03:04:05Z\""),
        ("Struct", "{\"value\":{}}"),
        ("Value", "null"),
        ("ListValue", "[]"),
        ("FieldMask", "\"a,fooBar\""),
        ("Any", "{\"@type\":\"a/google.protobuf.Duration\",\"value\":\"1s\"}"),
        ("Empty", "{}"),
    ] {
        let url = url(name);
        let expect = format!("{{\"any\":{{{url},\"value\":{value}}}}}");
        for text in [
            expect.as_str(),
            &format!("{{\"any\":{{\"value\":{value},{url}}}}}"),
            &format!("{{\"any\":{{{url},\"zz\":1,\"value\":{value}}}}}"),
        ] {
            lenient(text, Ok(&expect));
        }
        lenient(
            &format!("{{\"any\":{{{url},\"value\":{value},\"value\":{value}}}}}"),
            Err("\"value\" comes twice"),
        );
        let without = format!("{{\"any\":{{{url}}}}}");
        let expected = format!("any: a google.protobuf.{name} in an Any needs a \"value\"");
        if name == "Empty" {
            lenient(&without, Ok(&expect));
        } else {
            lenient(&without, Err(&expected));
        }
        check(&STRICT, KINDS, format!("{{\"any\":{{{url},\"zz\":1}}}}"), Err("has no field \"zz\""));
    }
    let null = format!("{{\"any\":{{{},\"value\":null}}}}", url("Int32Value"));
    lenient(&null, Err("any.value: null where a whole number"));
}
