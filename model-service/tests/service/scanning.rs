//! What a scan finds, and what it fills: everything that files and what lies
//! beside them say, and nothing over what is there.

use model_service::model::ModelKind;
use stablequeue_proto::models::v1::*;
use tonic::Code;

use crate::harness::{Service, fields, reason};
use crate::shelf::{Shelf, counts, lora, problems, root, safetensors, user_metadata};

/// Who said a field, as the wire has it.
fn source(model: &Model, field: &str) -> MetadataSource {
    let mut sources = model.field_sources.iter();
    let found = sources.find(|source| source.field == field);
    found.map_or(MetadataSource::Unspecified, FieldSource::source)
}

#[tokio::test]
async fn a_scan_finds_models_everywhere_and_fills_them_from_what_is_there() {
    let shelf = Shelf::new();
    shelf.put_lora("a.safetensors", "a");
    shelf.put("a.json", user_metadata("A fox."));
    shelf.put("a.preview.png", "png");
    shelf.put("deep/er/full.CKPT", "pickle");
    shelf.put("deep/flux.gguf", "not read far");
    shelf.put("deep/notes.txt", "nothing");
    shelf.put("deep/old.pt", "pickle");
    let mut service = shelf.service().await;
    let report = service.scan().await;
    let expected = "fields_filled=6 files=4 models_created=4 new=4 problems=1 sidecars=1";
    assert_eq!(counts(&report), expected);
    assert_eq!(problems(&report), ["main/deep/flux.gguf: HEADER_INVALID"]);
    let fox = service.named("a.safetensors").await;
    assert_eq!(fox.r#type(), ModelType::Lora);
    assert_eq!(
        fox.local_path,
        shelf.path("a.safetensors").to_str().unwrap()
    );
    assert_eq!(fox.name, "a");
    assert_eq!(source(&fox, "name"), MetadataSource::FileName);
    assert_eq!(fox.description, "A fox.");
    assert_eq!(fox.activation_text, "glowing fox");
    assert_eq!(fox.preferred_weight, Some(0.8));
    assert_eq!(
        (fox.negative_text.as_str(), fox.notes.as_str()),
        ("blurry", "from a friend")
    );
    for field in [
        "description",
        "activation_text",
        "preferred_weight",
        "sd_version",
    ] {
        assert_eq!(source(&fox, field), MetadataSource::Sidecar, "{field}");
    }
    assert!(fox.has_preview);
    assert!(fox.file_size_bytes.is_some() && fox.file_modify_time.is_some());
    let [file] = &fox.files[..] else {
        panic!("{:?}", fox.files);
    };
    assert_eq!(
        (file.root.as_str(), file.path.as_str()),
        ("main", "a.safetensors")
    );
    let full = service.named("full.CKPT").await;
    assert_eq!(full.r#type(), ModelType::Checkpoint);
    assert_eq!(service.named("old.pt").await.r#type(), ModelType::Lora);
    let flux = service.named("flux.gguf").await;
    assert!(!flux.files[0].header_problem.is_empty());
}

#[tokio::test]
async fn what_the_header_says_fills_what_the_sidecar_does_not() {
    let shelf = Shelf::new();
    let metadata = [
        ("ss_base_model_version", "sdxl_base_v1-0"),
        ("modelspec.description", "Embedded."),
    ];
    shelf.put("both.safetensors", lora(&metadata));
    shelf.put(
        "both.json",
        r#"{"description": "Beside.", "activation text": "word"}"#,
    );
    shelf.put("alone.safetensors", lora(&metadata));
    let mut service = shelf.service().await;
    service.scan().await;
    let both = service.named("both.safetensors").await;
    assert_eq!(
        (both.description.as_str(), both.sd_version.as_str()),
        ("Beside.", "SDXL")
    );
    assert_eq!(source(&both, "description"), MetadataSource::Sidecar);
    assert_eq!(source(&both, "sd_version"), MetadataSource::Embedded);
    let alone = service.named("alone.safetensors").await;
    assert_eq!(alone.description, "Embedded.");
    assert_eq!(source(&alone, "description"), MetadataSource::Embedded);
}

#[tokio::test]
async fn a_value_that_somebody_set_stays_and_one_that_somebody_emptied_is_filled() {
    let shelf = Shelf::new();
    shelf.put_lora("a.safetensors", "a");
    let mut service = shelf.service().await;
    service.scan().await;
    let model = service.named("a.safetensors").await;
    let change = Model {
        model_id: model.model_id.clone(),
        description: "Mine.".into(),
        ..Default::default()
    };
    service
        .update(change, &["description", "notes"])
        .await
        .unwrap();
    shelf.put("a.json", user_metadata("Theirs."));
    let report = service.scan().await;
    assert_eq!(
        counts(&report),
        "changed=1 fields_filled=5 files=1 sidecars=1"
    );
    let model = service.named("a.safetensors").await;
    assert_eq!(
        (model.description.as_str(), model.notes.as_str()),
        ("Mine.", "from a friend")
    );
    assert_eq!(source(&model, "description"), MetadataSource::Manual);
    assert_eq!(model.activation_text, "glowing fox");
}

#[tokio::test]
async fn a_value_that_was_filled_is_not_replaced_by_another_file() {
    let shelf = Shelf::new();
    shelf.put_lora("a.safetensors", "a");
    shelf.put("a.json", user_metadata("First."));
    let mut service = shelf.service().await;
    service.scan().await;
    shelf.put("a.json", user_metadata("Second and longer."));
    let report = service.scan().await;
    assert_eq!(counts(&report), "changed=1 files=1 sidecars=1");
    assert_eq!(service.named("a.safetensors").await.description, "First.");
}

#[tokio::test]
async fn nothing_is_guessed_from_names_unless_asked_for_and_then_it_is_marked() {
    let shelf = Shelf::new();
    shelf.put("SDXL/plain.pt", "pickle");
    let mut service = shelf.service().await;
    service.scan().await;
    let model = service.named("plain.pt").await;
    assert_eq!(model.sd_version, "");
    let guess = StartScanRequest {
        full: true,
        guess_from_names: true,
        ..Default::default()
    };
    service.scan_as(guess).await;
    let model = service.named("plain.pt").await;
    assert_eq!(model.sd_version, "SDXL");
    assert_eq!(source(&model, "sd_version"), MetadataSource::FileName);
}

#[tokio::test]
async fn the_kind_is_said_by_the_header_then_the_root_then_the_sidecar() {
    let shelf = Shelf::new();
    let tensors = [
        "model.diffusion_model.input_blocks.0.0.weight",
        "first_stage_model.a",
        "cond_stage_model.b",
    ];
    shelf.put(
        "full.safetensors",
        safetensors(
            &[("modelspec.architecture", "stable-diffusion-v1")],
            &tensors,
        ),
    );
    shelf.put_lora("lora.safetensors", "a");
    shelf.put(
        "vae.safetensors",
        safetensors(
            &[("modelspec.architecture", "stable-diffusion-v1/vae")],
            &[],
        ),
    );
    shelf.put("said.pt", "pickle");
    shelf.put("said.json", "{}");
    let mut service = Service::in_folder(tempfile::tempdir().unwrap(), |config| {
        config.library.roots = vec![root("main", &shelf.path(""), Some(ModelKind::Checkpoint))];
    })
    .await;
    let report = service.scan().await;
    assert_eq!(report.counts["others"], 1);
    assert_eq!(report.counts["models_created"], 3);
    for (name, kind) in [
        ("full.safetensors", ModelType::Checkpoint),
        ("lora.safetensors", ModelType::Lora),
        ("said.pt", ModelType::Checkpoint),
    ] {
        assert_eq!(service.named(name).await.r#type(), kind, "{name}");
    }
}

#[tokio::test]
async fn a_model_that_was_registered_is_found_by_its_path_with_either_slash() {
    let shelf = Shelf::new();
    let path = shelf.put_lora("Sub/Fox.safetensors", "a");
    shelf.put_lora("other/Fox.safetensors", "b");
    let mut service = shelf.service().await;
    let windows = path.to_str().unwrap().replace('/', "\\");
    let adopted = service
        .create(Model {
            name: "Adopted".into(),
            r#type: ModelType::Lora.into(),
            local_path: windows.clone(),
            ..Default::default()
        })
        .await;
    let report = service.scan().await;
    assert_eq!(report.counts["models_created"], 1);
    let found = service.get(&adopted.model_id).await.unwrap();
    assert_eq!(found.files[0].path, "Sub/Fox.safetensors");
    assert_eq!(
        (found.name, found.local_path),
        ("Adopted".to_owned(), windows)
    );
}

#[tokio::test]
async fn a_name_tells_the_model_only_when_one_file_and_one_model_have_it() {
    let shelf = Shelf::new();
    shelf.put_lora("one.safetensors", "a");
    shelf.put_lora("a/two.safetensors", "b");
    shelf.put_lora("b/two.safetensors", "c");
    let mut service = shelf.service().await;
    let mut registered = Vec::new();
    for name in ["one.safetensors", "two.safetensors"] {
        let model = Model {
            name: name.into(),
            r#type: ModelType::Lora.into(),
            local_path: format!("C:\\elsewhere\\{name}"),
            ..Default::default()
        };
        registered.push(service.create(model).await.model_id);
    }
    let report = service.scan().await;
    assert_eq!(report.counts["models_created"], 2);
    assert_eq!(service.get(&registered[0]).await.unwrap().files.len(), 1);
    assert_eq!(service.get(&registered[1]).await.unwrap().files.len(), 0);
    // F9: two files of one name are two models.
    assert_eq!(service.all_models().await.len(), 4);
}

#[tokio::test]
async fn one_file_under_several_names_is_one_model() {
    let shelf = Shelf::new();
    let path = shelf.put_lora("inner/a.safetensors", "a");
    std::fs::hard_link(&path, shelf.path("inner/b.safetensors")).unwrap();
    std::os::unix::fs::symlink("a.safetensors", shelf.path("inner/c.safetensors")).unwrap();
    let mut service = Service::in_folder(tempfile::tempdir().unwrap(), |config| {
        let inner = root("nested", &shelf.path("inner"), None);
        config.library.roots = vec![root("main", &shelf.path(""), None), inner];
    })
    .await;
    let report = service.scan().await;
    assert_eq!(counts(&report), "files=6 models_created=1 new=6");
    let models = service.all_models().await;
    assert_eq!(models.len(), 1);
    assert_eq!(models[0].files.len(), 6);
    assert_eq!(counts(&service.scan().await), "files=6 unchanged=6");
}

#[tokio::test]
async fn roots_are_listed_with_what_the_last_scan_found() {
    let shelf = Shelf::new();
    shelf.put_lora("a.safetensors", "a");
    shelf.put("broken.safetensors", "short");
    let mut service = Service::in_folder(tempfile::tempdir().unwrap(), |config| {
        let gone = root("gone", &shelf.path("nothing"), Some(ModelKind::Lora));
        config.library.roots = vec![gone, root("main", &shelf.path(""), None)];
    })
    .await;
    let list = ListLibraryRootsRequest {};
    let before = service
        .library
        .list_library_roots(list)
        .await
        .unwrap()
        .into_inner();
    let [gone, main] = &before.roots[..] else {
        panic!("{before:?}");
    };
    assert_eq!((gone.name.as_str(), gone.readable), ("gone", false));
    assert_eq!((gone.r#type(), gone.free_bytes), (ModelType::Lora, None));
    assert!(main.readable && main.free_bytes.is_some() && main.scan_time.is_none());
    let report = service.scan().await;
    assert_eq!(
        problems(&report),
        [
            "gone: ROOT_UNREADABLE",
            "main/broken.safetensors: HEADER_INVALID"
        ]
    );
    let after = service
        .library
        .list_library_roots(list)
        .await
        .unwrap()
        .into_inner();
    let main = &after.roots[1];
    assert_eq!((main.file_count, main.problem_count), (2, 1));
    assert!(main.scan_time.is_some() && after.roots[0].scan_time.is_none());
}

#[tokio::test]
async fn a_scan_of_what_is_not_configured_is_refused() {
    let shelf = Shelf::new();
    let mut service = shelf.service().await;
    let of = |roots: &[&str]| StartScanRequest {
        roots: roots.iter().map(|&name| name.to_owned()).collect(),
        ..Default::default()
    };
    let refused = service
        .library
        .start_scan(of(&["other"]))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let refused = service
        .library
        .start_scan(of(&["a/b", "main", ""]))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(fields(&refused), ["roots[0]", "roots[2]"]);
    let mut without = Service::new().await;
    let refused = without.library.start_scan(of(&[])).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(reason(&refused), "NO_LIBRARY_ROOTS");
}

#[tokio::test]
async fn a_request_that_comes_again_begins_no_second_scan() {
    let shelf = Shelf::new();
    let mut service = shelf.service().await;
    let request = |full| StartScanRequest {
        full,
        request_id: "mine".into(),
        ..Default::default()
    };
    let first = service
        .library
        .start_scan(request(false))
        .await
        .unwrap()
        .into_inner();
    let again = service
        .library
        .start_scan(request(false))
        .await
        .unwrap()
        .into_inner();
    let id = |answer: &StartScanResponse| answer.operation.as_ref().unwrap().operation_id.clone();
    assert_eq!(id(&first), id(&again));
    let other = service.library.start_scan(request(true)).await.unwrap_err();
    assert_eq!(reason(&other), "REQUEST_ID_REUSED");
}
