use serde_json::json;

use super::*;

#[test]
fn a_strict_reader_takes_what_is_json_and_no_more() {
    let object = object_from_text(r#" {"a": [1, -1, 1.5, true, null, "x", {}]} "#).unwrap();
    assert_eq!(
        Value::Object(object),
        json!({"a": [1, -1, 1.5, true, null, "x", {}]})
    );
    for text in [
        "",
        "[]",
        "5",
        "{\"a\":1} x",
        "{\"a\":1}{}",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{\"a\":1e999}",
        "{\"a\":1,}",
        "{\"a\":1,\"a\":1}",
        "{\"b\":{\"a\":1,\"c\":2,\"a\":3}}",
    ] {
        assert!(object_from_text(text).is_err(), "{text}");
    }
}

#[test]
fn a_text_nested_too_deep_is_an_error_and_no_crash() {
    let text = format!("{{\"a\":{}", "[".repeat(100_000));
    assert!(object_from_text(&text).is_err());
}

fn number(number: f64) -> ProtoValue {
    ProtoValue {
        kind: Some(Kind::NumberValue(number)),
    }
}

#[test]
fn whole_numbers_of_a_struct_become_integers() {
    let fields = Struct {
        fields: BTreeMap::from([
            ("a".to_owned(), number(20.0)),
            ("b".to_owned(), number(7.5)),
            ("c".to_owned(), number(-0.0)),
            ("d".to_owned(), number(9_007_199_254_740_992.0)),
        ]),
    };
    let mut violations = Vec::new();
    let object = object_from_struct(fields, "x", "use json", &mut violations);
    assert_eq!(violations, []);
    assert_eq!(
        Value::Object(object).to_string(),
        r#"{"a":20,"b":7.5,"c":0,"d":9007199254740992}"#
    );
}

#[test]
fn numbers_that_cannot_be_told_are_violations_at_their_path() {
    let list = ListValue {
        values: vec![
            number(1.0),
            number(f64::NAN),
            number(1e300),
            number(f64::INFINITY),
        ],
    };
    let list = ProtoValue {
        kind: Some(Kind::ListValue(list)),
    };
    let fields = Struct {
        fields: BTreeMap::from([("a".to_owned(), list)]),
    };
    let mut violations = Vec::new();
    object_from_struct(fields, "p", "use json", &mut violations);
    let paths: Vec<&str> = violations.iter().map(|v| v.path.as_str()).collect();
    assert_eq!(paths, ["p.a[1]", "p.a[2]", "p.a[3]"]);
    assert!(
        violations[1].description.ends_with("use json"),
        "{violations:?}"
    );
}

#[test]
fn what_is_shown_reads_back() {
    let value = json!({"a": 1, "b": [true, null, "x", 1.5], "c": {"d": -3}});
    let mut violations = Vec::new();
    let shown = struct_from_value(&value);
    let back = object_from_struct(shown, "", "", &mut violations);
    assert_eq!(Value::Object(back), value);
    let shown = struct_from_value(&json!({"n": u64::MAX}));
    assert_eq!(
        shown.fields["n"].kind,
        Some(Kind::StringValue(u64::MAX.to_string()))
    );
}
