//! How references match, model by model.

use proptest::prelude::*;

use super::*;

const SHA: &str = "2870ca6e33d3665391b10c77641074755bf3b0283449ef1d52486dc7cfe392c8";
const OTHER: &str = "fc03d15844113d66863f59e8c296ec1cc549be7f6f93c6904c51333e9e2364fc";
const TITLE: &str = "sub dir/mini (v2).safetensors [2870ca6e33]";
const PATH: &str = "/srv/forge/models/Stable-diffusion/sub dir/mini (v2).safetensors";

fn files() -> [FileNames<'static>; 1] {
    [FileNames {
        title: TITLE,
        path: PATH,
        alias: "sub dir_mini (v2)",
    }]
}

fn candidate<'a>(files: &'a [FileNames<'a>], sha256: Option<&'a str>) -> Candidate<'a> {
    Candidate {
        kind: ModelKind::Checkpoint,
        sha256,
        autov2: sha256.map(|digits| &digits[..10]),
        autov3: None,
        aliases: &[],
        files,
        registry: FileNames::default(),
        registry_filename: "",
    }
}

fn matched(text: &str, candidate: &Candidate<'_>) -> Option<MatchKind> {
    Reference::parse(text, None)
        .fit(candidate)
        .map(|fit| fit.kind())
}

#[test]
fn a_model_is_found_by_everything_it_is_known_by() {
    let files = files();
    let aliases = vec!["Best\\Model".to_owned()];
    let mut model = candidate(&files, Some(SHA));
    model.aliases = &aliases;
    let cases = [
        (SHA, MatchKind::Sha256),
        (
            "2870CA6E33D3665391B10C77641074755BF3B0283449EF1D52486DC7CFE392C8",
            MatchKind::Sha256,
        ),
        ("2870ca6e33", MatchKind::AutoV2),
        ("2870CA6E33", MatchKind::AutoV2),
        ("best/model", MatchKind::Alias),
        (TITLE, MatchKind::Title),
        ("sub dir/mini (v2).safetensors", MatchKind::Title),
        (
            "sub dir\\mini (v2).safetensors [2870ca6e33]",
            MatchKind::Title,
        ),
        (PATH, MatchKind::Path),
        (
            "Stable-diffusion/sub dir/mini (v2).safetensors",
            MatchKind::Path,
        ),
        ("sub dir/mini (v2)", MatchKind::Path),
        ("sub dir_mini (v2)", MatchKind::Alias),
        ("mini (v2).safetensors", MatchKind::Filename),
        ("mini (v2)", MatchKind::Filename),
        ("mini (v2) [2870ca6e33]", MatchKind::Filename),
        ("  MINI (V2)  ", MatchKind::Filename),
    ];
    for (text, kind) in cases {
        assert_eq!(matched(text, &model), Some(kind), "{text}");
    }
}

#[test]
fn what_only_looks_alike_does_not_match() {
    let files = files();
    let model = candidate(&files, Some(SHA));
    for text in [
        OTHER,
        "fc03d15844",
        "2870ca6e3",
        "ini (v2)",
        "dir/mini (v2)",
        "other/mini (v2).safetensors",
        "mini",
        "mini (v2).ckpt",
        "",
        "/",
        "]",
    ] {
        assert_eq!(matched(text, &model), None, "{text:?}");
    }
}

#[test]
fn the_hash_in_a_title_is_a_check() {
    let files = files();
    let unhashed = [FileNames {
        title: "sub dir/mini (v2).safetensors",
        ..files[0]
    }];
    let wrong = "sub dir/mini (v2).safetensors [fc03d15844]";
    assert_eq!(matched(wrong, &candidate(&files, Some(SHA))), None);
    assert_eq!(
        matched(TITLE, &candidate(&unhashed, None)),
        Some(MatchKind::Title)
    );
    let renamed = [FileNames {
        title: "renamed.safetensors",
        ..FileNames::default()
    }];
    assert_eq!(
        matched(TITLE, &candidate(&renamed, Some(SHA))),
        Some(MatchKind::AutoV2)
    );
    assert_eq!(matched(TITLE, &candidate(&renamed, Some(OTHER))), None);
}

#[test]
fn ten_hexadecimal_digits_can_also_be_a_name() {
    let named = [FileNames {
        title: "deadbeef00.safetensors",
        ..FileNames::default()
    }];
    assert_eq!(
        matched("DEADBEEF00", &candidate(&named, Some(SHA))),
        Some(MatchKind::Filename)
    );
}

#[test]
fn a_full_hash_is_never_matched_against_another_full_hash() {
    let same_start = format!("{}{}", &SHA[..10], &OTHER[10..]);
    let files = files();
    assert_eq!(matched(&same_start, &candidate(&files, Some(SHA))), None);
    let mut short = candidate(&files, None);
    short.autov2 = Some(&SHA[..10]);
    assert_eq!(matched(SHA, &short), Some(MatchKind::AutoV2));
}

#[test]
fn the_kind_of_model_is_a_condition() {
    let files = files();
    let model = candidate(&files, Some(SHA));
    assert!(
        Reference::parse(SHA, Some(ModelKind::Checkpoint))
            .fit(&model)
            .is_some()
    );
    assert!(
        Reference::parse(SHA, Some(ModelKind::Lora))
            .fit(&model)
            .is_none()
    );
}

fn decided(text: &str, candidates: &[Candidate<'_>]) -> Decision {
    let reference = Reference::parse(text, None);
    let fits: Vec<_> = candidates
        .iter()
        .enumerate()
        .filter_map(|(place, candidate)| Some((place, reference.fit(candidate)?)))
        .collect();
    decide(&fits, |place| candidates[place].sha256)
}

#[test]
fn two_files_with_one_name_are_never_guessed_between() {
    let one = [FileNames {
        title: "a/x.safetensors",
        ..FileNames::default()
    }];
    let two = [FileNames {
        title: "b/x.safetensors",
        ..FileNames::default()
    }];
    let unhashed = [candidate(&one, None), candidate(&two, None)];
    assert_eq!(decided("x", &unhashed), Decision::Many(vec![0, 1]));
    assert!(matches!(decided("b/x", &unhashed), Decision::One(1, _)));
    let equal = [candidate(&one, Some(SHA)), candidate(&two, Some(SHA))];
    assert!(matches!(decided("x", &equal), Decision::One(0, _)));
}

#[test]
fn the_same_case_outranks_the_other_case() {
    let lower = [FileNames {
        title: "a/x.safetensors",
        ..FileNames::default()
    }];
    let upper = [FileNames {
        title: "b/X.safetensors",
        ..FileNames::default()
    }];
    let both = [candidate(&lower, None), candidate(&upper, None)];
    assert!(matches!(decided("X", &both), Decision::One(1, _)));
    assert!(matches!(decided("x", &both), Decision::One(0, _)));
    assert!(matches!(decided("X.SAFETENSORS", &both), Decision::Many(_)));
}

#[test]
fn the_servers_own_name_outranks_the_registrys() {
    let own = [FileNames {
        title: "x.safetensors",
        ..FileNames::default()
    }];
    let renamed = [FileNames {
        title: "y.safetensors",
        ..FileNames::default()
    }];
    let mut other = candidate(&renamed, Some(SHA));
    other.registry_filename = "x.safetensors";
    assert_eq!(matched("x", &other), Some(MatchKind::Filename));
    assert!(matches!(
        decided("x", &[other, candidate(&own, None)]),
        Decision::One(1, _)
    ));
}

#[test]
fn several_names_of_one_model_are_one_model() {
    let copies = [
        FileNames {
            title: "a/x.safetensors",
            ..FileNames::default()
        },
        FileNames {
            title: "b/x.safetensors",
            ..FileNames::default()
        },
    ];
    let model = [candidate(&copies, Some(SHA))];
    assert!(matches!(decided("x", &model), Decision::One(0, _)));
    let Decision::One(0, fit) = decided("b/x.safetensors", &model) else {
        panic!("one model fits");
    };
    assert_eq!(fit.file, Some(1));
}

proptest! {
    #[test]
    fn no_text_breaks_matching(text: String, title: String, path: String, alias: String) {
        let files = [FileNames { title: &title, path: &path, alias: &alias }];
        let reference = Reference::parse(&text, None);
        let keys = reference.lookup_keys();
        prop_assert!(!keys.names.is_empty());
        // Any answer is fine; the property is that there is one.
        let _ = reference.fit(&candidate(&files, Some(SHA)));
    }

    #[test]
    fn slashes_and_case_do_not_matter(folders in "[a-zA-Z ]{1,8}", name in "[a-zA-Z0-9 .]{1,12}") {
        let title = format!("{folders}/{name}.safetensors");
        let files = [FileNames { title: &title, ..FileNames::default() }];
        let model = candidate(&files, None);
        let asked = title.trim();
        prop_assume!(asked == title);
        prop_assert_eq!(matched(&title, &model), Some(MatchKind::Title));
        prop_assert_eq!(matched(&title.replace('/', "\\"), &model), Some(MatchKind::Title));
        prop_assert_eq!(matched(&title.to_uppercase(), &model), Some(MatchKind::Title));
    }

    #[test]
    fn whatever_fits_is_found_under_its_keys(title in "([a-cA-C]{1,2}[/\\\\]){0,2}[a-cA-C]{1,2}(\\.ckpt)?", text in "([a-cA-C]{1,2}[/\\\\]){0,2}[a-cA-C]{1,2}(\\.ckpt)?( \\[2870ca6e33\\])?") {
        let files = [FileNames { title: &title, ..FileNames::default() }];
        let reference = Reference::parse(&text, None);
        if reference.fit(&candidate(&files, None)).is_some() {
            let keys = reference.lookup_keys();
            let title_key = names::key(names::split_title(&title).0);
            let filename_key = names::key(names::last_part(&title));
            prop_assert!(keys.names.contains(&title_key) || keys.filenames.contains(&filename_key));
        }
    }
}
