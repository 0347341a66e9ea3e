//! The tables of the jobs database as diesel sees them; the truth is in
//! `migrations/jobs`.

diesel::table! {
    jobs (mobilesd_job_id) {
        mobilesd_job_id -> Text,
        status -> Text,
        creation_timestamp -> Text,
        last_updated_timestamp -> Text,
        completion_timestamp -> Nullable<Text>,
        target_server_alias -> Text,
        generation_params_json -> Text,
        result_details_json -> Nullable<Text>,
        retry_count -> Nullable<Integer>,
        forge_internal_task_id -> Nullable<Text>,
        app_type -> Nullable<Text>,
        source_info -> Nullable<Text>,
        api_key_id -> Nullable<Text>,
        revision -> Integer,
        endpoint -> Text,
        priority -> Integer,
        queue_rank -> BigInt,
        models_json -> Text,
        resolved_checkpoint -> Nullable<Text>,
        resolved_seed -> BigInt,
        resolved_subseed -> BigInt,
        run -> Integer,
        attempt_number -> Integer,
        attempts_spent -> Integer,
        attempts_max -> Integer,
        not_before -> Nullable<Text>,
        hold_reason -> Nullable<Text>,
        hold_message -> Nullable<Text>,
        hold_since -> Nullable<Text>,
        cancel_requested_at -> Nullable<Text>,
        error_code -> Nullable<Text>,
        labels_json -> Text,
        batch_id -> Nullable<Text>,
        request_bytes -> BigInt,
        adopted_request_json -> Nullable<Text>,
        policy_json -> Text,
        hold_until -> Nullable<Text>,
        pixels -> Nullable<BigInt>,
        adopted -> Bool,
        wait_until -> Nullable<Text>,
        deadline_at -> Nullable<Text>,
        run_began_at -> Nullable<Text>,
    }
}

diesel::table! {
    adoption (id) {
        id -> Integer,
        adopted_at -> Text,
        servers_imported_at -> Nullable<Text>,
    }
}

diesel::table! {
    job_attempts (job_id, number) {
        job_id -> Text,
        number -> Integer,
        run -> Integer,
        token -> Text,
        server_alias -> Text,
        server_process -> Nullable<Text>,
        phase -> Text,
        outcome -> Nullable<Text>,
        spent -> Bool,
        claimed_at -> Text,
        sent_at -> Nullable<Text>,
        ended_at -> Nullable<Text>,
        error_code -> Nullable<Text>,
        http_status -> Nullable<Integer>,
        message -> Nullable<Text>,
        models_json -> Text,
        last_phase -> Nullable<Text>,
        loading_ms -> Nullable<BigInt>,
        generating_ms -> Nullable<BigInt>,
        possible_repeat -> Bool,
        recoveries -> Integer,
    }
}

diesel::table! {
    job_events (sequence) {
        sequence -> BigInt,
        job_id -> Text,
        #[sql_name = "type"]
        kind -> Text,
        created_at -> Text,
        state -> Text,
        attempt -> Integer,
        server_alias -> Text,
        phase -> Nullable<Text>,
        outcome -> Nullable<Text>,
        hold_reason -> Nullable<Text>,
        message -> Text,
    }
}

diesel::table! {
    job_images (job_id, position) {
        job_id -> Text,
        position -> Integer,
        sha256 -> Text,
        kind -> Text,
        size_bytes -> BigInt,
        width -> Integer,
        height -> Integer,
        seed -> BigInt,
        infotext -> Text,
        verification -> Text,
        media_type -> Text,
        attempt -> Integer,
    }
}

diesel::table! {
    forge_servers (alias) {
        alias -> Text,
        base_url -> Text,
        usage -> Text,
        labels_json -> Text,
        enabled -> Bool,
        cordoned -> Bool,
        cordon_reason -> Text,
        baseline_options_json -> Nullable<Text>,
        created_at -> Text,
        updated_at -> Text,
        revision -> Integer,
        api_login_sealed -> Nullable<Binary>,
        ui_login_sealed -> Nullable<Binary>,
        interrupts_allowed -> Bool,
    }
}

diesel::table! {
    server_cooldowns (server_alias, kind, subject) {
        server_alias -> Text,
        kind -> Text,
        subject -> Text,
        failures -> Integer,
        until -> Text,
        message -> Text,
    }
}

diesel::table! {
    input_images (sha256) {
        sha256 -> Text,
        created_at -> Text,
        bytes -> Binary,
    }
}

diesel::table! {
    job_input_images (job_id, sha256) {
        job_id -> Text,
        sha256 -> Text,
    }
}

diesel::table! {
    request_ids (key_id, method, request_id) {
        key_id -> Text,
        method -> Text,
        request_id -> Text,
        fingerprint -> Text,
        resource -> Text,
        created_at -> Text,
    }
}

diesel::table! {
    unneeded_files (sha256, media_type) {
        sha256 -> Text,
        media_type -> Text,
    }
}

diesel::table! {
    queue_totals (id) {
        id -> Integer,
        jobs -> BigInt,
        request_bytes -> BigInt,
    }
}

diesel::table! {
    key_totals (key_id) {
        key_id -> Text,
        jobs -> BigInt,
    }
}

diesel::table! {
    api_keys (id) {
        id -> Text,
        name -> Text,
        key_prefix -> Text,
        key_hash -> Text,
        secret_hash -> Text,
        created_at -> Text,
        last_used -> Nullable<Text>,
        is_active -> Nullable<Bool>,
        permissions -> Nullable<Text>,
        description -> Nullable<Text>,
        revision -> Integer,
        expires_at -> Nullable<Text>,
        queued_jobs_max -> Nullable<Integer>,
        watches_max -> Nullable<Integer>,
        old_secret_hash -> Nullable<Text>,
        old_secret_expires_at -> Nullable<Text>,
    }
}

diesel::table! {
    authentication (id) {
        id -> Integer,
        required_since -> Text,
    }
}

diesel::allow_tables_to_appear_in_same_query!(input_images, job_input_images);
