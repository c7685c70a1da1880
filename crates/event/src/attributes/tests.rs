use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// An attribute of each form; none is in the real list.
static OTHERS: &[Attribute] = &[
    Attribute { key: "word", column: "word", form: Form::Words(&["one", "two"]), doc: "" },
    Attribute { key: "text", column: "text", form: Form::Text(4), doc: "" },
    Attribute { key: "lower", column: "lower", form: Form::LowerText(4), doc: "" },
    Attribute { key: "first", column: "first", form: Form::Beginning(4), doc: "" },
    Attribute { key: "name", column: "name", form: Form::Name, doc: "" },
    Attribute { key: "address", column: "address", form: Form::Address, doc: "" },
    Attribute { key: "flag", column: "flag", form: Form::Flag, doc: "" },
    Attribute { key: "number", column: "number", form: Form::Hundredths(-9000, 90_00), doc: "" },
];

fn text(text: &str) -> Given<'_> {
    Given::Text(text.into())
}

fn number(number: &str) -> Given<'_> {
    Given::Number(number.into())
}

/// What a value becomes: `Ok` with its text, `Ok(None)` where it is no value, `Err` where it is dropped.
fn of(key: &str, given: &Given<'_>) -> Result<Option<String>, ()> {
    let (attributes, dropped) = Attributes::take(OTHERS, |at| match OTHERS[at].key == key {
        true => given.clone(),
        false => Given::Nothing,
    });
    let value = attributes.iter().next().map(|(attribute, value)| {
        assert_eq!(attribute.key, key);
        assert_eq!(attributes.get(attribute), Some(value));
        match value {
            AttributeValue::Text(text) => text.to_owned(),
            AttributeValue::Int(n) => n.to_string(),
            AttributeValue::Double(n) => format!("{n:?}"),
        }
    });
    match (value, dropped) {
        (value, 0) => Ok(value),
        (None, 1) => Err(()),
        other => panic!("{key} {given:?}: {other:?}"),
    }
}

#[test]
fn the_list_is_fit_for_tables_and_for_the_wire() {
    let keys: BTreeSet<_> = ATTRIBUTES.iter().map(|a| a.key).collect();
    let columns: BTreeSet<_> = ATTRIBUTES.iter().map(|a| a.column).collect();
    assert_eq!((keys.len(), columns.len()), (ATTRIBUTES.len(), ATTRIBUTES.len()));
    assert!(["time", "user", "computer", "event_id"].iter().all(|key| !keys.contains(key)));
    for attribute in ATTRIBUTES {
        let Attribute { key, column, form, doc } = attribute;
        for name in [key, column] {
            assert!(!name.is_empty() && name.bytes().all(|b| b == b'_' || b.is_ascii_lowercase()), "{name}");
        }
        assert!((1..=255).contains(&doc.len()) && !doc.contains(char::is_control), "{key}: {} bytes", doc.len());
        if let Form::Words(words) = form {
            let of_words = |word: &&str| !word.is_empty() && word.bytes().all(|b| b == b'_' || b.is_ascii_lowercase());
            assert!(words.iter().all(of_words) && words.len() == words.iter().collect::<BTreeSet<_>>().len(), "{key}");
        }
        if let Form::Hundredths(least, most) = *form {
            assert!(least <= 0 && most >= 0, "{key}");
        }
    }
}

#[test]
fn all_values_at_their_longest_take_up_half_of_what_one_event_may() {
    let (name, agent) = ("n".repeat(256), "a".repeat(2_000));
    let (attributes, dropped) = Attributes::take(ATTRIBUTES, |at| match ATTRIBUTES[at].form {
        Form::Words(words) => text(words[0]),
        Form::Text(most) | Form::LowerText(most) => text(&name[..most]),
        Form::Beginning(_) => text(&agent),
        Form::Name => text(&name),
        Form::Address => text("1111:2222:3333:4444:5555:6666:7777:8888"),
        Form::Flag => Given::Bool(true),
        Form::Hundredths(..) => number("-90"),
    });
    assert_eq!((attributes.iter().count(), dropped), (ATTRIBUTES.len(), 0));
    let (bytes, most) = (attributes.bytes(), ATTRIBUTES_BYTES_MAX / 2);
    assert!(bytes <= most, "{bytes} bytes of {most}: shorten the form of an attribute, or raise ATTRIBUTES_BYTES_MAX");
}

#[test]
fn what_one_event_has_is_bounded_whatever_the_list() {
    static LONG: [Attribute; 3] = [
        Attribute { key: "a", column: "a", form: Form::Text(6_000), doc: "" },
        Attribute { key: "b", column: "b", form: Form::Text(6_000), doc: "" },
        Attribute { key: "c", column: "c", form: Form::Text(6_000), doc: "" },
    ];
    let long = "x".repeat(6_000);
    let values = [text(&long), text(&long), text("short")];
    let (attributes, dropped) = Attributes::take(&LONG, |at| values[at].clone());
    assert!(attributes.bytes() <= ATTRIBUTES_BYTES_MAX);
    assert_eq!(dropped, 1);
    assert_eq!(attributes.get(&LONG[1]), None);
    assert_eq!(attributes.get(&LONG[2]), Some(AttributeValue::Text("short")));
}

#[test]
fn each_form_takes_its_own_and_drops_the_rest() {
    let kept: &[(&str, Given<'_>, &str)] = &[
        ("word", text("two"), "two"),
        ("word", text(" OnE\t"), "one"),
        ("text", text("a,\"b"), "a,\"b"),
        ("text", text("  abcd "), "abcd"),
        ("text", text("éé"), "éé"),
        ("lower", text("AbÉ"), "abÉ"),
        ("first", text("abcdefgh"), "abcd"),
        ("first", text("aaaé"), "aaa"),
        ("first", text("abc defg"), "abc"),
        ("first", text("abcd\u{7}"), "abcd"),
        ("name", text(" DOM\\u "), "DOM\\u"),
        ("address", text("10.1.2.3"), "10.1.2.3"),
        ("address", text("::ffff:10.1.2.3"), "10.1.2.3"),
        ("address", text("2001:DB8:0:0:1:0:0:1"), "2001:db8::1:0:0:1"),
        ("flag", Given::Bool(true), "1"),
        ("flag", Given::Bool(false), "0"),
        ("number", number("48.137"), "48.14"),
        ("number", number("-0"), "0.0"),
        ("number", number("90"), "90.0"),
        ("number", number("-90.000"), "-90.0"),
        ("number", number("1.005"), "1.01"),
        ("number", number("-1.005"), "-1.01"),
        ("number", number("1.00499999999"), "1.0"),
        ("number", number("4.8137e1"), "48.14"),
        ("number", number("4813700E-5"), "48.14"),
        ("number", number("5.1e-05"), "0.0"),
        ("number", number("1e-400"), "0.0"),
    ];
    for (key, given, value) in kept {
        assert_eq!(of(key, given), Ok(Some((*value).to_owned())), "{key} {given:?}");
    }
    let nothing = ["word", "text", "lower", "first", "name", "address", "flag", "number"];
    for key in nothing {
        assert_eq!(of(key, &Given::Nothing), Ok(None), "{key}");
        assert_eq!(of(key, &Given::Unfit), Err(()), "{key}");
        let empty = if matches!(key, "flag" | "number") { Err(()) } else { Ok(None) };
        assert_eq!(of(key, &text(" \t")), empty, "{key}");
    }
    let long = "n".repeat(257);
    let dropped: &[(&str, Given<'_>)] = &[
        ("word", text("three")),
        ("word", Given::Bool(true)),
        ("text", text("abcde")),
        ("text", text("a\nb")),
        ("text", text("a\u{85}b")),
        ("text", number("1")),
        ("lower", text("abcde")),
        ("first", text("a\u{0}bc")),
        ("name", text("a,b")),
        ("name", text(&long)),
        ("address", text("10.1.2.03")),
        ("address", text("10.1.2.3:99")),
        ("address", text("[::1]")),
        ("address", text("fe80::1%eth0")),
        ("address", text("10.0.0.0/8")),
        ("address", text("0.0.0.0")),
        ("address", text("::")),
        ("address", text("LOCAL")),
        ("flag", text("true")),
        ("flag", number("1")),
        ("number", text("1")),
        ("number", Given::Bool(true)),
        ("number", number("90.001")),
        ("number", number("-90.0000001")),
        ("number", number("1e3")),
        ("number", number("1e999999999999")),
        ("number", number("1.0000000000000000000000000000001")),
    ];
    for (key, given) in dropped {
        assert_eq!(of(key, given), Err(()), "{key} {given:?}");
    }
}

#[test]
fn a_copy_shares_the_values_and_nothing_takes_one_pointer() {
    assert_eq!(size_of::<Attributes>(), size_of::<usize>());
    assert_eq!((Attributes::NONE.bytes(), Attributes::NONE.iter().count()), (0, 0));
    let (attributes, _) = Attributes::take(OTHERS, |at| if at == 1 { text("abc") } else { Given::Nothing });
    let copy = attributes.clone();
    assert!(!copy.is_empty() && copy.bytes() > 3);
    let address = |a: &Attributes| a.0.as_ref().map(Arc::as_ptr);
    assert_eq!(address(&attributes), address(&copy));
    assert_eq!(attributes.get(&OTHERS[0]), None);
    // Equal values are equal, whatever list they came from.
    let (again, _) = Attributes::take(OTHERS, |at| if at == 1 { text(" abc") } else { Given::Nothing });
    assert_ne!(address(&attributes), address(&again));
    assert_eq!(attributes, again);
    let (other, _) = Attributes::take(OTHERS, |at| if at == 3 { text("abc") } else { Given::Nothing });
    assert_ne!(attributes, other);
}

proptest! {
    /// The values that an entry stores are read back as the same attributes.
    #[test]
    fn what_is_kept_is_kept_as_it_is(
        texts in prop::collection::vec(".{0,8}|[ aé]{0,6}", 6),
        octets in any::<[u8; 4]>(), flag in any::<bool>(), n in -9_100..9_100i32,
    ) {
        let address = octets.map(|octet| octet.to_string()).join(".");
        let given = |at: usize| match OTHERS[at].form {
            Form::Address => text(&address),
            Form::Flag => Given::Bool(flag),
            Form::Hundredths(..) => Given::Number(format!("{}", f64::from(n) / 100.0).into()),
            _ => text(&texts[at]),
        };
        let (attributes, _) = Attributes::take(OTHERS, given);
        let stored: Vec<_> = attributes.given().collect();
        let find = |at: usize| stored.iter().find(|(key, _)| *key == OTHERS[at].key);
        let (again, dropped) = Attributes::take(OTHERS, |at| find(at).map_or(Given::Nothing, |(_, given)| given.clone()));
        prop_assert_eq!((&again, dropped), (&attributes, 0));
        prop_assert_eq!(attributes.get(&OTHERS[7]).is_some(), (-9_000..=9_000).contains(&n));
    }

    #[test]
    fn numbers_never_panic(number in "-?[0-9]{0,33}(\\.[0-9]{0,20})?([eE][-+]?[0-9]{0,12})?|.{0,8}") {
        if let Some(n) = hundredths(&number, -9000, 18000) {
            prop_assert!((-9000..=18000).contains(&n));
            let near: f64 = number.parse().unwrap_or(f64::NAN);
            prop_assert!(near.is_nan() || (near * 100.0 - f64::from(n)).abs() < 0.500_001, "{} {}", number, n);
        }
    }
}
