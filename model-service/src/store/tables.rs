//! The tables of the models database as diesel sees them. Owns no statement;
//! the migrations are the truth, and a test compares.

diesel::table! {
    models (id) {
        id -> BigInt,
        name -> Text,
        #[sql_name = "type"]
        kind -> Text,
        local_path -> Text,
        filename -> Text,
        civitai_id -> Nullable<Text>,
        civitai_version_id -> Nullable<Text>,
        forge_format -> Nullable<Text>,
        hash_autov2 -> Nullable<Text>,
        hash_sha256 -> Nullable<Text>,
        civitai_model_name -> Nullable<Text>,
        civitai_model_base -> Nullable<Text>,
        civitai_model_type -> Nullable<Text>,
        civitai_model_version_name -> Nullable<Text>,
        civitai_model_version_desc -> Nullable<Text>,
        civitai_model_version_date -> Nullable<Text>,
        civitai_download_url -> Nullable<Text>,
        civitai_trained_words -> Nullable<Text>,
        civitai_file_size_kb -> Nullable<Integer>,
        metadata_status -> Text,
        last_used -> Nullable<Text>,
        created_at -> Nullable<Text>,
        filename_key -> Text,
        revision -> BigInt,
        preview_url -> Nullable<Text>,
        civitai_nsfw -> Nullable<Bool>,
        civitai_blurhash -> Nullable<Text>,
        civitai_checked -> Nullable<Text>,
        metadata_source -> Nullable<Text>,
        has_embedded_metadata -> Bool,
        needs_rescan -> Bool,
        hash_autov1 -> Nullable<Text>,
        hash_autov3 -> Nullable<Text>,
        hash_blake3 -> Nullable<Text>,
        file_size_bytes -> Nullable<BigInt>,
        file_modified_at -> Nullable<Text>,
        description -> Nullable<Text>,
        activation_text -> Nullable<Text>,
        preferred_weight -> Nullable<Double>,
        negative_text -> Nullable<Text>,
        notes -> Nullable<Text>,
        sd_version -> Nullable<Text>,
        civitai_matched_by -> Nullable<Text>,
        civitai_error -> Nullable<Text>,
        enriched_at -> Nullable<Text>,
    }
}

diesel::table! {
    model_field_sources (model_id, field) {
        model_id -> BigInt,
        field -> Text,
        source -> Text,
    }
}

diesel::table! {
    library_roots (name) {
        name -> Text,
        path -> Text,
        scanned_at -> Nullable<Text>,
        file_count -> Nullable<Integer>,
        problem_count -> Nullable<Integer>,
    }
}

diesel::table! {
    library_files (id) {
        id -> BigInt,
        root -> Text,
        path -> Binary,
        model_id -> Nullable<BigInt>,
        size_bytes -> BigInt,
        modified_ns -> BigInt,
        device -> BigInt,
        inode -> BigInt,
        beside_stamp -> Text,
        preview_path -> Nullable<Binary>,
        header_problem -> Nullable<Text>,
        first_seen_at -> Text,
        seen_at -> Text,
        missing_since -> Nullable<Text>,
        hash_sha256 -> Nullable<Text>,
        hash_autov1 -> Nullable<Text>,
        hash_autov3 -> Nullable<Text>,
        hash_blake3 -> Nullable<Text>,
        hashed_size_bytes -> Nullable<BigInt>,
        hashed_modified_ns -> Nullable<BigInt>,
        hashed_at -> Nullable<Text>,
    }
}

diesel::table! {
    civitai_answers (question) {
        question -> Text,
        found -> Bool,
        answer_json -> Nullable<Text>,
        asked_at -> Text,
        expires_at -> Text,
    }
}

diesel::table! {
    model_aliases (id) {
        id -> BigInt,
        model_id -> BigInt,
        alias_path -> Text,
        alias_key -> Text,
    }
}

diesel::table! {
    model_server_availability (id) {
        id -> BigInt,
        model_id -> BigInt,
        server_id -> Text,
        last_seen -> Nullable<Text>,
        title -> Nullable<Text>,
    }
}

diesel::table! {
    server_inventories (server_id) {
        server_id -> Text,
        generation -> Text,
        synced_at -> Text,
        checkpoint_count -> Integer,
        lora_count -> Integer,
        asset_count -> Integer,
        doubted_count -> Integer,
        doubted_since -> Nullable<Text>,
    }
}

diesel::table! {
    server_model_files (id) {
        id -> BigInt,
        server_id -> Text,
        model_id -> BigInt,
        item_key -> Text,
        source -> Text,
        title -> Text,
        path -> Text,
        alias -> Text,
        sha256 -> Nullable<Text>,
        title_key -> Text,
        filename_key -> Text,
        alias_key -> Text,
        doubted_since -> Nullable<Text>,
    }
}

diesel::table! {
    server_assets (server_id, kind, name) {
        server_id -> Text,
        kind -> Text,
        name -> Text,
    }
}

diesel::table! {
    availability_events (sequence) {
        sequence -> BigInt,
        #[sql_name = "type"]
        kind -> Text,
        server_id -> Text,
        model_id -> Nullable<BigInt>,
        created_at -> Text,
    }
}

diesel::table! {
    request_ids (api_key, method, request_id) {
        api_key -> Text,
        method -> Text,
        request_id -> Text,
        fingerprint -> Text,
        model_id -> Nullable<BigInt>,
        alias_id -> Nullable<BigInt>,
        created_at -> Text,
    }
}

diesel::joinable!(model_server_availability -> models (model_id));
diesel::joinable!(server_model_files -> models (model_id));
diesel::joinable!(model_field_sources -> models (model_id));
diesel::joinable!(library_files -> models (model_id));
diesel::allow_tables_to_appear_in_same_query!(
    models,
    model_aliases,
    model_server_availability,
    server_model_files,
    server_inventories,
    model_field_sources,
    library_files,
    library_roots,
);
