//! Rows for every table, as the program of each version of the schema could have written them.

use diesel::{SqliteConnection, connection::SimpleConnection as _};

use crate::stepping::Kind;

/// From which version on a statement can be made, and the statement.
type Rows = (&'static str, &'static str);

const JOBS: &[Rows] = &[
    (
        "0001",
        "INSERT INTO api_keys (id, name, key_prefix, key_hash, secret_hash, created_at, is_active,
             permissions)
         VALUES ('key-1', 'one', '00000001', 'a1', 'b1', '2026-01-01T00:00:00.000Z', 1, '[]'),
             ('key-2', 'two', '00000002', 'a2', 'b2', '2026-01-02T00:00:00.000Z', 0, NULL);
         INSERT INTO jobs (mobilesd_job_id, status, creation_timestamp, last_updated_timestamp,
             completion_timestamp, target_server_alias, generation_params_json,
             result_details_json, retry_count, api_key_id)
         VALUES
         ('job-1', 'pending', '2026-01-03T00:00:00.000Z', '2026-01-03T00:00:01.000Z', NULL, '',
             '{\"prompt\": \"ö\"}', NULL, 0, 'key-1'),
         ('job-2', 'processing', '2026-01-03T00:00:00.000Z', '2026-01-03T00:00:01.000Z', NULL,
             'gpu', '{}', '{\"a\": 1.0}', 1, NULL),
         ('job-3', 'completed', '2026-01-03T00:00:00.000Z', '2026-01-03T00:00:01.000Z',
             '2026-01-03T00:00:02.000Z', 'gpu', '{\"prompt\":\"x\"}', '{}', 0, 'key-2'),
         ('job-4', 'failed', '2026-01-03T00:00:00.000Z', '2026-01-03T00:00:01.000Z',
             '2026-01-03T00:00:02.000Z', 'gone', '{}', NULL, 3, NULL),
         ('job-5', 'cancelled', '2026-01-03T00:00:00.000Z', '2026-01-03T00:00:01.000Z',
             '2026-01-03T00:00:02.000Z', '', '{}', NULL, NULL, 'key-1');",
    ),
    (
        "0002",
        "INSERT INTO forge_servers (alias, base_url, usage, baseline_options_json, created_at,
             updated_at)
         VALUES ('gpu', 'http://127.0.0.1:9', 'dedicated', '{}', '2026-01-01T00:00:00.000Z',
             '2026-01-01T00:00:00.000Z');
         UPDATE jobs SET priority = 5, labels_json = '{\"a\": \"b\"}', resolved_seed = 7,
             attempt_number = 1, attempts_spent = 1 WHERE status <> 'pending';
         INSERT INTO job_attempts (job_id, number, run, token, server_alias, phase, claimed_at,
             ended_at)
         VALUES ('job-2', 1, 1, 't-2', 'gpu', 'generating', '2026-01-03T00:00:01.000Z', NULL),
             ('job-3', 1, 1, 't-3', 'gpu', 'saving', '2026-01-03T00:00:01.000Z',
                 '2026-01-03T00:00:02.000Z');
         INSERT INTO job_events (job_id, type, created_at, state)
         VALUES ('job-1', 'created', '2026-01-03T00:00:00.000Z', 'pending'),
             ('job-9', 'deleted', '2026-01-03T00:00:00.000Z', 'completed');
         INSERT INTO job_images (job_id, position, sha256, kind, size_bytes, width, height, seed,
             infotext, verification, media_type, attempt)
         VALUES ('job-3', 0, 'cc', 'image', 10, 64, 64, 7, 'text', 'verified', 'image/png', 1);",
    ),
    (
        "0003",
        "INSERT INTO input_images (sha256, created_at, bytes)
         VALUES ('dd', '2026-01-03T00:00:00.000Z', x'00ff10');
         INSERT INTO job_input_images (job_id, sha256) VALUES ('job-1', 'dd');",
    ),
    (
        "0004",
        "INSERT INTO request_ids (key_id, method, request_id, fingerprint, resource, created_at)
         VALUES ('key-1', 'SubmitJob', 'r-1', 'ee', 'job-1', '2026-01-03T00:00:00.000Z');
         UPDATE jobs SET batch_id = 'batch-1' WHERE status = 'pending';",
    ),
    (
        "0005",
        "INSERT INTO unneeded_files (sha256, media_type) VALUES ('ff', 'image/png');",
    ),
    (
        "0006",
        "INSERT INTO authentication (id, required_since) VALUES (1, '2026-01-01T00:00:00.000Z');
         UPDATE api_keys SET queued_jobs_max = 3, old_secret_hash = 'b0';
         UPDATE forge_servers SET api_login_sealed = x'0102';
         INSERT INTO audit_events (created_at, key_id, caller, peer, method, target, code,
             request_id)
         VALUES ('2026-01-03T00:00:00.000Z', 'key-1', 'one', '127.0.0.1', 'X/Y', 'job-1', 'OK', '');",
    ),
    (
        "0007",
        "INSERT INTO adoption (id, adopted_at) VALUES (1, '2026-01-01T00:00:00.000Z');
         UPDATE jobs SET adopted_request_json = '{}' WHERE status = 'completed';
         UPDATE api_keys SET rate_limit_tier = 'gold';",
    ),
    ("0008", OPERATIONS),
    (
        "0009",
        "INSERT INTO server_cooldowns (server_alias, kind, subject, failures, until, message)
         VALUES ('gpu', 'model', 'Dawn [aa]', 2, '2026-01-01T00:00:00.000Z', 'failed to load');
         UPDATE jobs SET policy_json = '{\"total_timeout_ms\":1000}', pixels = 4096,
             deadline_at = '2036-01-01T00:00:00.000Z' WHERE status = 'pending';
         UPDATE job_attempts SET last_phase = 'saving', generating_ms = 12, recoveries = 1;
         UPDATE forge_servers SET interrupts_allowed = 1;",
    ),
    (
        "0010",
        "UPDATE jobs SET adopted = 1 WHERE status = 'completed';",
    ),
];

const MODELS: &[Rows] = &[
    (
        "0001",
        "INSERT INTO models (name, type, local_path, filename, hash_sha256, metadata_status)
         VALUES ('Dawn', 'checkpoint', '/m/Dawn.safetensors', 'Dawn.safetensors', 'aa', 'complete'),
             ('Ink', 'lora', '/m/Ink.safetensors', 'Ink.safetensors', NULL, 'error');
         INSERT INTO model_aliases (model_id, alias_path) VALUES (1, 'a\\Dawn'), (2, 'ink');
         INSERT INTO model_server_availability (model_id, server_id) VALUES (1, 'gpu'), (2, 'gpu');",
    ),
    (
        "0002",
        "INSERT INTO server_inventories (server_id, generation, synced_at, checkpoint_count,
             lora_count, asset_count)
         VALUES ('gpu', 'g', '2026-01-01T00:00:00.000Z', 1, 1, 1);
         INSERT INTO server_model_files (server_id, model_id, item_key, source, title, path, alias,
             title_key, filename_key, alias_key)
         VALUES ('gpu', 1, 'i', 'listed', 'T', 'p', 'a', 't', 'f', 'a');
         INSERT INTO server_assets (server_id, kind, name) VALUES ('gpu', 'sampler', 'Euler');
         INSERT INTO availability_events (type, server_id, model_id, created_at)
         VALUES ('added', 'gpu', 1, '2026-01-01T00:00:00.000Z');
         UPDATE model_server_availability SET title = 'Dawn [aa]' WHERE model_id = 1;",
    ),
    (
        "0003",
        "INSERT INTO request_ids (api_key, method, request_id, fingerprint, model_id, created_at)
         VALUES ('', 'CreateModel', 'r-1', 'ee', 1, '2026-01-01T00:00:00.000Z');
         UPDATE models SET revision = 4;",
    ),
    (
        "0004",
        "INSERT INTO audit_events (created_at, caller, peer, method, target, code, request_id)
         VALUES ('2026-01-03T00:00:00.000Z', 'one', '127.0.0.1', 'X/Y', '1', 'OK', '');",
    ),
    (
        "0005",
        "UPDATE models SET preview_path = '/p.png', civitai_checked = 'found' WHERE id = 1;",
    ),
    ("0006", OPERATIONS),
    (
        "0007",
        "UPDATE models SET hash_autov3 = 'aabbccddeeff', file_size_bytes = 7, description = 'A red fox',
             civitai_matched_by = 'file' WHERE id = 1;
         INSERT INTO model_field_sources (model_id, field, source)
         VALUES (1, 'description', 'manual'), (2, 'name', 'file_name');
         INSERT INTO library_roots (name, path) VALUES ('main', '/m');
         INSERT INTO library_files (root, path, model_id, size_bytes, modified_ns, device, inode,
             beside_stamp, first_seen_at, seen_at)
         VALUES ('main', CAST('Dawn.safetensors' AS BLOB), 1, 7, 8, 9, 10, 's',
             '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:01.000Z');
         INSERT INTO civitai_answers (question, found, asked_at, expires_at)
         VALUES ('sha256:aa', 0, '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z');
         UPDATE server_inventories SET doubted_count = 1;",
    ),
];

const OPERATIONS: &str = "INSERT INTO operations (id, kind, state, created_at, updated_at)
     VALUES ('op-1', 'backup', 'succeeded', '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:01.000Z'),
         ('op-2', 'backup', 'running', '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:01.000Z');";

/// Fills every table of a database whose newest migration has this version.
pub(crate) fn fill(kind: Kind, version: &str, connection: &mut SqliteConnection) {
    let all = if kind.name == "jobs" { JOBS } else { MODELS };
    connection
        .batch_execute("PRAGMA foreign_keys = ON")
        .unwrap();
    for (since, rows) in all {
        if *since <= version {
            connection.batch_execute(rows).unwrap();
        }
    }
}
