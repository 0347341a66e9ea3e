//! Which findings are made and which are written.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn text(field: Field, text: &str, source: Source) -> Finding {
    Finding::text(field, text, source).unwrap()
}

#[test]
fn only_empty_fields_are_filled_and_the_first_finding_of_a_field_wins() {
    let present = BTreeMap::from([
        (Field::Notes, Some(Source::Manual)),
        (Field::Description, None),
        (Field::SdVersion, Some(Source::Sidecar)),
    ]);
    let found = vec![
        text(Field::Notes, "n", Source::Civitai),
        text(Field::Description, "d", Source::Sidecar),
        text(Field::SdVersion, "SDXL", Source::Sidecar),
        text(Field::ActivationText, "first", Source::Sidecar),
        text(Field::ActivationText, "second", Source::Embedded),
    ];
    let written = fill(&present, found.clone());
    assert_eq!(written, found[3..4]);
}

#[test]
fn civitai_takes_the_place_of_what_civitai_said_and_of_nothing_else() {
    for (before, replaced) in [
        (Some(Source::Civitai), true),
        (Some(Source::Manual), false),
        (Some(Source::Sidecar), false),
        (Some(Source::Embedded), false),
        (None, false),
    ] {
        let present = BTreeMap::from([(Field::BaseModel, before)]);
        let civitai = vec![text(Field::BaseModel, "Pony", Source::Civitai)];
        assert_eq!(fill(&present, civitai).len() == 1, replaced, "{before:?}");
        let sidecar = vec![text(Field::BaseModel, "Pony", Source::Sidecar)];
        assert_eq!(fill(&present, sidecar), [], "{before:?}");
    }
}

#[test]
fn what_does_not_fit_its_field_is_no_finding() {
    let source = Source::Sidecar;
    for (field, value) in [
        (Field::Notes, Value::Text(" \0 ".to_owned())),
        (Field::Notes, Value::Number(1.0)),
        (Field::PreferredWeight, Value::Text("0.8".to_owned())),
        (Field::PreferredWeight, Value::Number(f64::NAN)),
        (Field::PreferredWeight, Value::Number(1e300)),
        (Field::CivitaiFileSizeKib, Value::Integer(-1)),
        (Field::CivitaiModelId, Value::Text("1".repeat(2_000))),
    ] {
        assert_eq!(
            Finding::new(field, value.clone(), source),
            None,
            "{value:?}"
        );
    }
}

#[test]
fn words_keep_their_order_and_their_doubles() {
    let words = ["b", " a ", "", "b"].map(str::to_owned).to_vec();
    let finding = Finding::new(Field::TrainedWords, Value::Words(words), Source::Civitai);
    let kept = ["b", "a", "b"].map(str::to_owned).to_vec();
    assert_eq!(finding.unwrap().value(), &Value::Words(kept));
    let none = Finding::new(
        Field::TrainedWords,
        Value::Words(Vec::new()),
        Source::Civitai,
    );
    assert_eq!(
        none.unwrap().value(),
        &Value::Words(Vec::new()),
        "[] is not unknown"
    );
}

#[test]
fn a_long_text_is_cut_between_two_characters() {
    let finding = text(Field::Notes, &"é".repeat(TEXT_BYTES_MAX), Source::Sidecar);
    let Value::Text(kept) = finding.value() else {
        panic!("{finding:?}");
    };
    assert_eq!(kept.len(), TEXT_BYTES_MAX);
    assert_eq!(cut("aé", 2), "a");
}

#[test]
fn fields_and_sources_are_found_by_their_words() {
    for field in Field::ALL {
        assert_eq!(Field::from_column(field.column()), Some(field));
        assert_eq!(Field::from_wire_name(field.wire_name()), Some(field));
    }
    for word in ["manual", "civitai", "sidecar", "embedded", "file_name"] {
        assert_eq!(Source::from_word(word).unwrap().as_str(), word);
    }
    assert_eq!(Source::from_word("guess"), None);
    assert_eq!(Field::from_column("id"), None);
}

proptest! {
    #[test]
    fn what_is_written_was_found_fits_and_leaves_what_is_there(
        texts in prop::collection::vec((0..Field::ALL.len(), ".{0,80}", any::<bool>()), 0..40),
        there in prop::collection::btree_map(0..Field::ALL.len(), 0..6_usize, 0..21),
    ) {
        let sources = [Source::Manual, Source::Civitai, Source::Sidecar, Source::Embedded,
            Source::FileName];
        let present: BTreeMap<Field, Option<Source>> = there
            .into_iter()
            .map(|(field, source)| (Field::ALL[field], sources.get(source).copied()))
            .collect();
        let found: Vec<Finding> = texts
            .iter()
            .filter_map(|(field, text, civitai)| {
                let source = if *civitai { Source::Civitai } else { Source::Sidecar };
                Finding::text(Field::ALL[*field], text, source)
            })
            .collect();
        let written = fill(&present, found.clone());
        let mut seen = BTreeSet::new();
        for finding in &written {
            prop_assert!(found.contains(finding));
            prop_assert!(seen.insert(finding.field()));
            let before = present.get(&finding.field());
            prop_assert!(before.is_none() || before == Some(&Some(Source::Civitai)));
        }
    }
}
