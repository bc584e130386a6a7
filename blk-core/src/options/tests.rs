use super::*;

const SPECS: &[OptionSpec] = &[
    OptionSpec::disk_size(Range::ANY),
    OptionSpec::new("version", OptionKind::Choice(&["1", "2"]), "")
        .with_default("2")
        .with_aliases(&[("old", "1")]),
    OptionSpec::new("lazy", OptionKind::Switch, "").with_conflicts(&[Conflict {
        when: Condition::Is("on"),
        other: "version",
        and: Condition::Is("1"),
        reason: "it came with version 2",
    }]),
    OptionSpec::new("unit", OptionKind::Size(Range::powers_of_two(512, 2 << 20)), "")
        .with_shown_default("65536"),
    OptionSpec::new("count", OptionKind::Number(Range::from_to(0, 9)), ""),
    OptionSpec::new("align", OptionKind::Size(Range::multiples(3, 3, 30)), ""),
    OptionSpec::new("mode", OptionKind::Choice(&["a", "b", "c"]), ""),
    OptionSpec::new("file", OptionKind::Text, ""),
    OptionSpec::new("fmt", OptionKind::Text, "").with_conflicts(&[Conflict {
        when: Condition::Given,
        other: "file",
        and: Condition::Missing,
        reason: "it is the file's",
    }]),
    OptionSpec::not_built("secret", OptionKind::Text, ""),
    OptionSpec::not_built("wide", OptionKind::Switch, "").with_shown_default("off"),
    OptionSpec::not_built("hint", OptionKind::Size(Range::ANY), ""),
];

fn typed(pairs: &[(&str, &str)]) -> Result<TypedOptions> {
    pairs
        .iter()
        .fold(Options::new(), |options, (name, value)| options.with(name, *value))
        .typed("some", SPECS)
}

#[test]
fn values_come_out_with_their_type_or_by_default() {
    let none = typed(&[]).unwrap();
    assert_eq!(
        (none.choice("version"), none.switch("lazy"), none.number("unit")),
        (Some("2"), None, Some(65536))
    );
    assert_eq!((none.number("count"), none.text("file"), none.is_given("unit")), (None, None, false));
    let all =
        [("version", "old"), ("lazy", "n"), ("unit", "4k"), ("count", "0x9"), ("align", "30"), ("file", "x")];
    let all = typed(&all).unwrap();
    assert_eq!(
        (all.choice("version"), all.switch("lazy"), all.number("unit")),
        (Some("1"), Some(false), Some(4096))
    );
    assert_eq!(
        (all.number("count"), all.number("align"), all.text("file").as_deref()),
        (Some(9), Some(30), Some("x"))
    );
    assert_eq!(all.value("version").unwrap().to_string(), "1");
}

#[test]
fn errors_name_the_option_its_value_and_what_is_legal() {
    for (pairs, text) in [
        (&[("unit", "513")][..], "option 'unit': 513 is not a power of two from 512 to 2097152"),
        (&[("unit", "4M")], "option 'unit': 4194304 is not a power of two from 512 to 2097152"),
        (&[("unit", "0")], "option 'unit': 0 is not a power of two from 512 to 2097152"),
        (
            &[("unit", "x")],
            "option 'unit': 'x' is not a size: bytes, or a number with one of the units b k M G T P E",
        ),
        (&[("count", "10")], "option 'count': 10 is not a number from 0 to 9"),
        (&[("count", "-1")], "option 'count': '-1' is not a whole number"),
        (&[("count", "1k")], "option 'count': '1k' is not a whole number"),
        (&[("align", "31")], "option 'align': 31 is not a multiple of 3 from 3 to 30"),
        (&[("align", "33")], "option 'align': 33 is not a multiple of 3 from 3 to 30"),
        (&[("lazy", "ON")], "option 'lazy': 'ON' is neither on nor off"),
        (&[("version", "3")], "option 'version': '3' is neither 1 nor 2"),
        (&[("mode", "d")], "option 'mode': 'd' is none of a, b, c"),
        (&[("colour", "red")], "option 'colour': unknown to format 'some'"),
        (&[("size", "1M")], "option 'size': unknown to format 'some'"),
        (
            &[("lazy", "on"), ("version", "old")],
            "option 'lazy': 'on' contradicts version=1: it came with version 2",
        ),
        (&[("fmt", "raw")], "option 'fmt': 'raw' needs file: it is the file's"),
        (&[("secret", "off")], "not supported: some option 'secret'"),
        (&[("wide", "on")], "not supported: some option 'wide'"),
        (&[("hint", "1")], "not supported: some option 'hint'"),
        (&[("wide", "perhaps")], "option 'wide': 'perhaps' is neither on nor off"),
    ] {
        assert_eq!(typed(pairs).unwrap_err().to_string(), text);
    }
    typed(&[("wide", "no"), ("hint", "0"), ("lazy", "off"), ("version", "1")]).unwrap();
    let others = Options::new().with("wide", "on").with("lazy", "on").with("version", "1");
    let others = others.typed_of_others("some", SPECS).unwrap();
    assert_eq!(others.switch("wide"), Some(true));
    assert!(others.check_conflicts("lazy").is_err());
    others.check_conflicts("wide").unwrap();
}

#[test]
fn samples_and_defaults_are_legal_and_canonical() {
    let mut samples = 0;
    for spec in SPECS {
        for text in spec.samples().iter().map(String::as_str).chain(spec.default) {
            assert_eq!(spec.parse(text).unwrap().to_string(), text, "{}", spec.name);
            samples += 1;
        }
    }
    assert!(samples > 100, "{samples}");
    assert_eq!(SPECS.iter().find(|spec| spec.name == "align").unwrap().samples(), ["3", "30"]);
    assert_eq!(SPECS.iter().find(|spec| spec.name == "unit").unwrap().samples().len(), 13);
}

#[test]
#[should_panic(expected = "the list of options has 'colour'")]
fn a_driver_asks_for_what_its_list_has() {
    let _ = typed(&[]).unwrap().switch("colour");
}

#[test]
#[should_panic(expected = "'unit' is a switch")]
fn a_driver_asks_for_the_kind_that_its_list_says() {
    let _ = typed(&[]).unwrap().switch("unit");
}
