#!/usr/bin/env bash
# Makes the secrets that compose.yaml and the dev overlay of Kubernetes read:
#
#   bootstrap_key  the token of job-service's first key, which may do everything
#   model_token    the token with which job-service calls model-service
#   model_tokens   what model-service keeps of it: a digest
#
# usage: make-secrets.sh [FOLDER]      FOLDER is `secrets` beside this script
#
# Files that are there are kept. To change one, delete it; the last two belong
# together. A token is `sq_`, 8 hex digits, `_`, and 64 random ones; a call shows
# it as `authorization: Bearer TOKEN`.
set -euo pipefail

folder=${1:-$(dirname "$0")/secrets}

# Hex digits of so many random bytes.
hex() {
    od -An -v -N "$1" -tx1 /dev/urandom | tr -d ' \n'
}

# The services are user 10001 in their containers, so the files can be read by
# all; the folder keeps others on this machine away from them.
umask 0022
install -d -m 0700 "$folder"

if ! [[ -e $folder/bootstrap_key ]]; then
    printf 'sq_%s_%s\n' "$(hex 4)" "$(hex 32)" > "$folder/bootstrap_key"
fi

if ! [[ -e $folder/model_token && -e $folder/model_tokens ]]; then
    prefix=$(hex 4)
    secret=$(hex 32)
    digest=$(printf %s "$secret" | sha256sum | cut -d ' ' -f 1)
    printf 'sq_%s_%s\n' "$prefix" "$secret" > "$folder/model_token"
    printf '[{"name": "job-service", "prefix": "%s", "secret_sha256": "%s", "scopes": ["models:read", "models:write"]}]\n' \
        "$prefix" "$digest" > "$folder/model_tokens"
fi

echo "the secrets are in $folder"
