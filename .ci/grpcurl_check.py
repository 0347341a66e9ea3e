"""Calls every method of both services with grpcurl, through reflection alone.

Starts the built programs on free loopback ports with data of its own, checks
health, lists the services, and runs a job to its image. Fails when a method
that the protos declare is not served or was not called.

usage: grpcurl_check.py --grpcurl PROGRAM --programs FOLDER --protos FOLDER
"""

import argparse
import base64
import contextlib
import hashlib
import json
import pathlib
import re
import subprocess
import tempfile
import time

# How long a program may take to listen, and a single call to answer.
START_SECONDS = 60
CALL_SECONDS = 60
# A PNG of one pixel.
PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
# grpcurl ends with this plus the status code.
STATUS_BASE = 64
NOT_FOUND = 5
FAILED_PRECONDITION = 9
ABORTED = 10
UNAUTHENTICATED = 16

JOBS = "stablequeue.jobs.v1.JobService"
SERVERS = "stablequeue.jobs.v1.ServerService"
MODELS = "stablequeue.models.v1.ModelService"
AVAILABILITY = "stablequeue.models.v1.AvailabilityService"
LIBRARY = "stablequeue.models.v1.LibraryService"
KEYS = "stablequeue.jobs.v1.ApiKeyService"
ADMIN = "stablequeue.admin.v1.AdminService"
OPERATIONS = "stablequeue.admin.v1.OperationService"


class Failed(Exception):
    """Something is not as it must be."""


def check(holds, *seen):
    """Fails with what was seen unless it holds."""
    if not holds:
        raise Failed(" ".join(str(part) for part in seen))


def declared(protos):
    """Every method that the protos declare, by the service's full name."""
    methods = set()
    for file in sorted(protos.rglob("*.proto")):
        text = re.sub(r"//[^\n]*", "", file.read_text())
        package = re.search(r"^package ([\w.]+);", text, re.M).group(1)
        for service in re.finditer(r"^service (\w+) \{(.*?)^\}", text, re.M | re.S):
            for method in re.finditer(r"\brpc (\w+)\(", service.group(2)):
                methods.add(f"{package}.{service.group(1)}/{method.group(1)}")
    check(methods, "no method found below", protos)
    return methods


class Program:
    """One of our programs, running."""

    def __init__(self, folder, name, log, *arguments):
        self.name = name
        self.log = log
        self.errors = open(log, "w+")
        command = [folder / name, *arguments]
        self.process = subprocess.Popen(
            command, stdout=self.errors, stderr=self.errors, stdin=subprocess.DEVNULL
        )

    def said(self, pattern):
        """What the program says that matches, as soon as it does."""
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            found = re.search(pattern, self.log.read_text())
            if found:
                return found.group(1)
            check(self.process.poll() is None, self.name, "ended:", self.log.read_text())
            time.sleep(0.02)
        raise Failed(f"{self.name} does not say {pattern!r}: {self.log.read_text()}")

    def stop(self):
        """Ends it as a process supervisor does; answers its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(CALL_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failed(f"{self.name} did not end") from None
        finally:
            self.errors.close()


class Service:
    """One address, called through grpcurl."""

    def __init__(self, grpcurl, address, called):
        self.grpcurl = grpcurl
        self.address = address
        self.called = called
        self.headers = []

    def present(self, token):
        """Sends a token with every call from now on; none with None."""
        self.headers = ["-H", f"authorization: Bearer {token}"] if token else []

    def run(self, *arguments, data=None, wanted=0):
        """Runs grpcurl; answers the JSON values it prints."""
        with_data = ["-d", "@"] if data is not None else []
        command = [
            self.grpcurl, "-plaintext", *self.headers, *with_data, self.address, *arguments,
        ]
        text = "\n".join(json.dumps(message) for message in data or [])
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=CALL_SECONDS, check=False
        )
        check(done.returncode == wanted, *arguments, "ended with", done.returncode, done.stderr)
        return done.stdout

    def names(self, *of):
        """The services, or the methods of one."""
        return set(self.run("list", *of).split())

    def stream(self, method, *messages, wanted=0):
        """Calls a method; answers every message of its answer."""
        self.called.add(method)
        print("   ", method, flush=True)
        return values(self.run(method, data=messages, wanted=wanted))

    def call(self, method, request=None, wanted=0):
        """Calls a unary method; answers its one message."""
        answers = self.stream(method, request or {}, wanted=wanted)
        if wanted != 0:
            return None
        check(len(answers) == 1, method, "answered", answers)
        return answers[0]

    @contextlib.contextmanager
    def watching(self, method, request):
        """Reads an endless stream, message by message."""
        self.called.add(method)
        print("   ", method, flush=True)
        command = [
            self.grpcurl, "-plaintext", *self.headers, "-max-time", str(CALL_SECONDS),
            "-d", json.dumps(request), self.address, method,
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            yield read_messages(process.stdout)
        finally:
            process.kill()
            process.wait()


def values(text):
    """JSON values one after another."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        value, at = decoder.raw_decode(text, at)
        found.append(value)
    return found


def read_messages(lines):
    """The messages of a stream as they come: each ends with a lone brace."""
    text = ""
    for line in lines:
        text += line
        if line.rstrip() in ("}", "{}"):
            yield json.loads(text)
            text = ""


def check_health(service, names):
    """The whole process and each service are SERVING."""
    for name in ["", *sorted(names)]:
        answers = values(service.run("grpc.health.v1.Health/Check", data=[{"service": name}]))
        check(answers == [{"status": "SERVING"}], "health of", repr(name), answers)


def call_admin(service, name, database):
    """Every method of AdminService, which both services have."""
    info = service.call(f"{ADMIN}/GetServiceInfo")
    check(info["name"] == name and info["limits"], info)
    state = service.call(f"{ADMIN}/GetDatabaseStatus")
    check(state["database"] == database.name, state)
    check("lastBackup" not in state and "pendingMigrations" not in state, state)
    made = service.call(f"{ADMIN}/CreateBackup")["backup"]
    file = database.with_name(made["name"])
    check(file.stat().st_size == int(made["sizeBytes"]), made)
    listed = service.call(f"{ADMIN}/ListBackups")["backups"]
    check(listed == [made], listed)
    checked = service.call(f"{ADMIN}/VerifyBackup", {"name": made["name"]})
    check(checked["backup"] == made and int(checked["rowCount"]) > 0, checked)
    pieces = service.stream(f"{ADMIN}/DownloadBackup", {"name": made["name"]})
    copy = b"".join(base64.b64decode(piece.get("data", "")) for piece in pieces)
    check(copy == file.read_bytes(), "the download is the file")
    check(hashlib.sha256(copy).hexdigest() == pieces[0]["sha256"], pieces[0])
    pruned = service.call(f"{ADMIN}/PruneBackups", {"keep": 1})
    check(pruned == {}, pruned)
    optimized = service.call(f"{ADMIN}/Optimize")
    check(int(optimized["sizeBytes"]) > 0, optimized)
    noted = service.call(f"{ADMIN}/ListAuditEvents", {"method": f"{ADMIN}/CreateBackup"})
    check([event["target"] for event in noted["auditEvents"]] == [made["name"]], noted)


def call_operations(service):
    """Every method of OperationService, which both services have."""
    nightly = {"background": True, "requestId": "nightly"}
    begun = service.call(f"{ADMIN}/CreateBackup", nightly)["operation"]
    one = {"operationId": begun["operationId"]}
    waited = service.call(f"{OPERATIONS}/WaitOperation", {**one, "timeout": "30s"})["operation"]
    check(waited["state"] == "OPERATION_STATE_SUCCEEDED" and "endTime" in waited, waited)
    progress = waited["progress"]
    check(progress["done"] == progress["total"] and progress["unit"] == "bytes", waited)
    again = service.call(f"{ADMIN}/CreateBackup", nightly)
    check(again["operation"] == waited and again["backup"] == waited["backup"], again)
    watched = service.stream(f"{OPERATIONS}/WatchOperation", one)
    check([each["operation"] for each in watched] == [waited], watched)
    # Cancelling what has ended changes nothing.
    cancelled = service.call(f"{OPERATIONS}/CancelOperation", one)["operation"]
    check(cancelled == waited, cancelled)
    check(service.call(f"{OPERATIONS}/GetOperation", one)["operation"] == waited, waited)
    filters = {"kinds": ["OPERATION_KIND_CREATE_BACKUP"], "states": ["OPERATION_STATE_SUCCEEDED"]}
    listed = service.call(f"{OPERATIONS}/ListOperations", filters)["operations"]
    check(listed[0] == waited and len(listed) == 2, listed)
    none = {"operationId": "00000000-0000-7000-8000-000000000000"}
    service.call(f"{OPERATIONS}/GetOperation", none, wanted=STATUS_BASE + NOT_FOUND)


def call_models(service):
    """Every method of model-service, with no Forge server near."""
    sha256 = "ab" * 32
    path = "/models/Stable-diffusion/harbour-v3.safetensors"
    item = {
        "type": "MODEL_TYPE_CHECKPOINT", "title": "harbour-v3.safetensors [abababab]",
        "path": path, "sha256": sha256,
    }
    synced = service.stream(
        f"{AVAILABILITY}/SyncServerInventory",
        {"header": {"server": "attic", "generation": "1", "mode": "INVENTORY_MODE_FULL", "itemCount": 2}},
        {"items": {"items": [{"model": item}]}},
        {"items": {"items": [{"asset": {"kind": "ASSET_KIND_SAMPLER", "name": "Euler"}}]}},
    )[0]
    check(synced["inventory"]["checkpointCount"] == 1, synced)
    inventories = service.call(f"{AVAILABILITY}/ListInventories")["inventories"]
    check([each["server"] for each in inventories] == ["attic"], inventories)
    facts = service.call(f"{AVAILABILITY}/ListAvailability", {"server": "attic"})
    check(len(facts["availabilities"]) == 1, facts)
    lora = {"name": "ink", "type": "MODEL_TYPE_LORA", "localPath": "/models/Lora/ink.safetensors"}
    once = {"model": lora, "requestId": "ink"}
    lora_id = service.call(f"{MODELS}/CreateModel", once)["model"]["modelId"]
    again = service.call(f"{MODELS}/CreateModel", once)["model"]
    check(again["modelId"] == lora_id, "a repeated creation is another model:", again)
    change = {"modelId": lora_id, "etag": again["etag"], "civitai": {"baseModel": "SDXL 1.0"}}
    changed = service.call(f"{MODELS}/UpdateModel", {"model": change})["model"]
    check(changed["civitai"] == {"baseModel": "SDXL 1.0"}, changed)
    service.call(f"{MODELS}/UpdateModel", {"model": change}, wanted=STATUS_BASE + ABORTED)
    alias = service.call(
        f"{MODELS}/AddModelAlias",
        {"modelId": lora_id, "aliasPath": "pen-and-ink", "requestId": "ink"},
    )["alias"]
    aliases = service.call(f"{MODELS}/ListModelAliases", {"modelId": lora_id})["aliases"]
    check([each["aliasPath"] for each in aliases] == ["pen-and-ink"], aliases)
    resolved = service.call(
        f"{MODELS}/ResolveModels",
        {"references": [{"reference": "PEN-AND-INK"}, {"reference": sha256[:10].upper()}]},
    )["resolutions"]
    check(resolved[1]["match"] == "MATCH_KIND_AUTOV2", resolved)
    used = "2026-01-02T03:04:05Z"
    uses = [
        {"modelId": lora_id, "useTime": used},
        {"reference": {"reference": "nothing"}},
    ]
    touched = service.call(f"{MODELS}/TouchModels", {"uses": uses})["results"]
    states = [each["state"] for each in touched]
    check(states == ["TOUCH_STATE_TOUCHED", "TOUCH_STATE_UNKNOWN"], touched)
    watch = f"{AVAILABILITY}/WatchAvailability"
    with service.watching(watch, {"servers": ["attic"]}) as messages:
        check("started" in next(messages), "a watch begins with its start")
        service.call(
            f"{AVAILABILITY}/SetModelAvailability", {"server": "attic", "modelId": lora_id}
        )
        event = next(messages)["event"]
        check(event["type"] == "AVAILABILITY_EVENT_TYPE_ADDED", event)
        check(event["modelId"] == lora_id, event)
    where = {"references": [{"reference": "ink"}, {"reference": "nothing"}], "servers": ["attic"]}
    found = service.call(f"{AVAILABILITY}/CheckAvailability", where)["servers"][0]["references"]
    states = [each["state"] for each in found]
    check(states == ["AVAILABILITY_STATE_AVAILABLE", "AVAILABILITY_STATE_MISSING"], found)
    full = {"modelId": lora_id, "view": "MODEL_VIEW_FULL"}
    model = service.call(f"{MODELS}/GetModel", full)["model"]
    check(model["servers"] == ["attic"] and model["lastUsedTime"] == used, model)
    service.call(
        f"{AVAILABILITY}/DeleteModelAvailability", {"server": "attic", "modelId": lora_id}
    )
    service.call(f"{MODELS}/DeleteModelAlias", {"aliasId": alias["aliasId"]})
    service.call(f"{MODELS}/DeleteModel", {"modelId": lora_id})
    service.call(f"{MODELS}/GetModel", full, wanted=STATUS_BASE + NOT_FOUND)
    models = service.call(f"{MODELS}/ListModels", {"type": "MODEL_TYPE_CHECKPOINT"})["models"]
    check([each["hashSha256"] for each in models] == [sha256], models)


def ended(service, begun):
    """The report of work on the library that must succeed."""
    one = {"operationId": begun["operation"]["operationId"], "timeout": "30s"}
    operation = service.call(f"{OPERATIONS}/WaitOperation", one)["operation"]
    check(operation["state"] == "OPERATION_STATE_SUCCEEDED", operation)
    return operation["libraryReport"]


def call_library(service, root):
    """Every method of LibraryService, with two files of one content and no Civitai."""
    header = json.dumps({"__metadata__": {"ss_network_module": "networks.lora"}}).encode()
    for name in ("fox", "hare"):
        (root / f"{name}.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (root / "fox.json").write_text(json.dumps({"description": "A fox.", "activation text": "fox"}))
    picture = base64.b64decode(PICTURE)
    (root / "fox.png").write_bytes(picture)
    once = {"requestId": "scan"}
    begun = service.call(f"{LIBRARY}/StartScan", once)
    counts = ended(service, begun)["counts"]
    check(counts["files"] == "2" and counts["sidecars"] == "1", counts)
    again = service.call(f"{LIBRARY}/StartScan", once)["operation"]
    check(again["operationId"] == begun["operation"]["operationId"], again)
    roots = service.call(f"{LIBRARY}/ListLibraryRoots")["roots"]
    check([(each["name"], each["fileCount"]) for each in roots] == [("main", 2)], roots)
    found = service.call(f"{MODELS}/ListModels", {"text": "fox.safetensors"})["models"]
    check([each["description"] for each in found] == ["A fox."], found)
    pieces = service.stream(f"{MODELS}/GetModelPreview", {"modelId": found[0]["modelId"]})
    data = b"".join(base64.b64decode(each.get("data", "")) for each in pieces)
    check(data == picture and pieces[0]["header"]["contentType"] == "image/png", pieces)
    ended(service, service.call(f"{LIBRARY}/StartHashing", {"requestId": "hash"}))
    groups = service.call(f"{LIBRARY}/FindDuplicates")["groups"]
    check([each["fileCount"] for each in groups] == [2], groups)
    ended(service, service.call(f"{LIBRARY}/StartEnrichment", {"requestId": "enrich"}))
    fetch = {"versionId": "1", "root": "main", "requestId": "fetch"}
    service.call(f"{LIBRARY}/StartDownload", fetch, wanted=STATUS_BASE + FAILED_PRECONDITION)
    lacking = [{"reference": text, "type": "MODEL_TYPE_LORA"} for text in ("wolf", "ab" * 32)]
    missing = service.call(f"{LIBRARY}/DownloadMissing", {"references": lacking})["models"]
    states = [each["state"].removeprefix("MISSING_MODEL_STATE_") for each in missing]
    check(states == ["NOT_IDENTIFIED", "NOT_ALLOWED"], missing)


def call_keys(service):
    """Every method of ApiKeyService; from the first key on every call needs one."""
    first = {"apiKey": {"name": "first", "scopes": ["admin"]}, "requestId": "first"}
    made = service.call(f"{KEYS}/CreateApiKey", first)
    service.call(f"{KEYS}/ListApiKeys", wanted=STATUS_BASE + UNAUTHENTICATED)
    admin = made["proof"]["token"]
    service.present(admin)
    user = {"apiKey": {"name": "user", "scopes": ["jobs:read"]}, "requestId": "user"}
    other = service.call(f"{KEYS}/CreateApiKey", user)
    again = service.call(f"{KEYS}/CreateApiKey", user)
    check("proof" not in again and again["apiKey"] == other["apiKey"], again)
    key_id = other["apiKey"]["keyId"]
    listed = service.call(f"{KEYS}/ListApiKeys")["apiKeys"]
    check([each["name"] for each in listed] == ["first", "user"], listed)
    change = {"keyId": key_id, "queuedJobsMax": 7, "etag": other["apiKey"]["etag"]}
    changed = service.call(f"{KEYS}/UpdateApiKey", {"apiKey": change})["apiKey"]
    check(changed["queuedJobsMax"] == 7, changed)
    service.call(f"{KEYS}/UpdateApiKey", {"apiKey": change}, wanted=STATUS_BASE + ABORTED)
    rotated = service.call(f"{KEYS}/RotateApiKey", {"keyId": key_id, "overlap": "0s"})
    for token, wanted in (
        (other["proof"]["token"], STATUS_BASE + UNAUTHENTICATED),
        (rotated["proof"]["token"], 0),
    ):
        service.present(token)
        service.call(f"{JOBS}/ListJobs", wanted=wanted)
    service.present(admin)
    used = service.call(f"{KEYS}/GetApiKey", {"keyId": key_id})["apiKey"]
    check("lastUseTime" in used, used)
    service.call(f"{KEYS}/DeleteApiKey", {"keyId": key_id})
    service.call(f"{KEYS}/GetApiKey", {"keyId": key_id}, wanted=STATUS_BASE + NOT_FOUND)


def call_servers(service, forge_url):
    """Every method of ServerService; ends with a healthy, cordoned server."""
    for alias, url in (("gpu", forge_url), ("gone", "http://127.0.0.1:9")):
        logins = {
            "apiLogin": {"user": "fox", "password": "den"},
            "uiLogin": {"user": "hare", "password": "form"},
        }
        server = {"alias": alias, "baseUrl": url, "usage": "SERVER_USAGE_DEDICATED", **logins}
        for _ in range(2):
            service.call(f"{SERVERS}/CreateServer", {"server": server, "requestId": f"add {alias}"})
    until = time.monotonic() + START_SECONDS
    while True:
        probed = service.call(f"{SERVERS}/ProbeServer", {"alias": "gpu"})["server"]["status"]
        if probed.get("health") == "SERVER_HEALTH_HEALTHY" and "inventoryTime" in probed:
            break
        check(time.monotonic() < until, "the server is not healthy:", probed)
    listed = service.call(f"{SERVERS}/ListServers")["servers"]
    check([each["alias"] for each in listed] == ["gone", "gpu"], listed)
    check(all(each["hasApiLogin"] and each["hasUiLogin"] for each in listed), listed)
    check(not any("apiLogin" in each or "uiLogin" in each for each in listed), listed)
    service.call(f"{SERVERS}/DeleteServer", {"alias": "gone"})
    service.call(f"{SERVERS}/GetServer", {"alias": "gone"}, wanted=STATUS_BASE + NOT_FOUND)
    refreshed = service.call(f"{SERVERS}/RefreshInventory", {"alias": "gpu"})["server"]["status"]
    check(refreshed["inventoryTime"] != probed["inventoryTime"], refreshed)
    change = {"server": {"alias": "gpu", "labels": {"room": "attic"}}}
    updated = service.call(f"{SERVERS}/UpdateServer", change)["server"]
    check(updated["labels"] == {"room": "attic"}, updated)
    service.call(f"{SERVERS}/CordonServer", {"alias": "gpu", "reason": "dusting"})
    server = service.call(f"{SERVERS}/GetServer", {"alias": "gpu"})["server"]
    check(server["cordoned"] and server["cordonReason"] == "dusting", server)
    asked = {"alias": "gpu", "reason": "moving house", "timeout": "5s"}
    drained = service.call(f"{SERVERS}/DrainServer", asked)
    check(drained["drained"] and drained["server"]["cordonReason"] == "moving house", drained)


def submit(service, request):
    """Takes a job; answers its id and where watching it may begin."""
    answer = service.call(f"{JOBS}/SubmitJob", request)
    return answer["job"]["jobId"], answer["resumeToken"]


def call_jobs(service, images):
    """Every method of JobService: one job is cancelled, two get their image."""
    params = {"prompt": "a red fox", "steps": 2, "width": 64, "height": 64, "seed": "0"}
    once = {"params": params, "requestId": "the first"}
    held, _ = submit(service, once)
    check(submit(service, once)[0] == held, "a repeated submission is another job")
    with service.watching(f"{JOBS}/WatchJob", {"jobId": held}) as messages:
        hold = next(messages)["snapshot"]["hold"]
        check(hold["reason"] == "HOLD_REASON_SERVER_CORDONED", hold)
    mask = {"paths": ["priority"]}
    change = {"jobId": held, "priority": 5, "labels": {"room": "attic"}, "updateMask": mask}
    changed = service.call(f"{JOBS}/UpdateJob", change)["job"]
    check(changed["priority"] == 5 and "labels" not in changed, changed)
    released = service.call(f"{JOBS}/UpdateJob", {"jobId": held, "releaseHold": True})["job"]
    check(released["state"] == "JOB_STATE_PENDING", released)
    cancelled = service.call(f"{JOBS}/CancelJob", {"jobId": held})["job"]
    check(cancelled["state"] == "JOB_STATE_CANCELLED", cancelled)
    retried = service.call(f"{JOBS}/RetryJob", {"jobId": held})["job"]
    check(retried["state"] == "JOB_STATE_PENDING" and retried["run"] == 2, retried)
    service.call(f"{JOBS}/CancelJob", {"jobId": held})
    again = service.call(f"{JOBS}/BatchRetryJobs", {"jobIds": [held, "none"]})["results"]
    check(again[0]["run"] == 3 and again[1]["failure"]["reason"] == "JOB_NOT_FOUND", again)
    service.call(f"{JOBS}/CancelJob", {"jobId": held})
    several = {"jobs": [{"params": params, "variations": 3}, {"params": {"steps": 0}}], "atomic": False}
    batch = service.call(f"{JOBS}/BatchSubmitJobs", several)
    seeds = [each["taken"].get("seed", "0") for each in batch["results"] if "taken" in each]
    check(seeds == ["0", "1", "2"] and "failure" in batch["results"][3], batch)
    of_batch = service.call(f"{JOBS}/ListJobs", {"batchId": batch["batchId"]})["jobs"]
    check(len(of_batch) == 3, of_batch)
    for each in of_batch:
        service.call(f"{JOBS}/DeleteJob", {"jobId": each["jobId"], "cancelFirst": True})
    service.call(f"{SERVERS}/UncordonServer", {"alias": "gpu"})
    typed, token = submit(service, {"params": params})
    events = service.stream(f"{JOBS}/WatchJob", {"jobId": typed, "resumeToken": token})
    types = [each["event"]["type"] for each in events if "event" in each]
    check(types[-1] == "JOB_EVENT_TYPE_COMPLETED", types)
    whole = {"prompt": "a blue fox", "steps": 2, "width": 64, "height": 64, "cfg_scale": 0}
    payload = {"endpoint": "ENDPOINT_TXT2IMG", "object": whole}
    given, _ = submit(service, {"forgePayload": payload, "targetServer": "gpu"})
    waited = service.call(f"{JOBS}/WaitJob", {"jobId": given, "timeout": "30s"})
    check(waited.get("done") and waited["job"]["state"] == "JOB_STATE_COMPLETED", waited)
    listed = service.call(f"{JOBS}/ListJobs", {"order": "JOB_ORDER_CREATE_TIME_ASC"})["jobs"]
    check([each["jobId"] for each in listed] == [held, typed, given], listed)
    job = service.call(f"{JOBS}/GetJob", {"jobId": typed, "view": "JOB_VIEW_FULL"})["job"]
    check(job["request"]["seed"] == 0 and len(job["attempts"]) == 1, job)
    service.call(f"{JOBS}/GetJob", {"jobId": "none"}, wanted=STATUS_BASE + NOT_FOUND)
    image = service.call(f"{JOBS}/ListJobImages", {"jobId": typed})["images"][0]
    check(image["infotext"].startswith("a red fox\n"), image)
    chunks = service.stream(f"{JOBS}/DownloadImage", {"jobId": typed})
    check(chunks[0]["image"]["sha256"] == image["sha256"], chunks[0])
    data = b"".join(base64.b64decode(each.get("data", "")) for each in chunks)
    sha256 = hashlib.sha256(data).hexdigest()
    check(sha256 == image["sha256"], "the bytes have the digest", sha256)
    stored = images / sha256[:2] / f"{sha256}.png"
    check(stored.read_bytes() == data, "the file is not what was downloaded:", stored)
    check(b"a red fox" in data, "the PNG does not hold its prompt")
    service.call(f"{JOBS}/DeleteJob", {"jobId": typed})
    service.call(f"{JOBS}/GetJob", {"jobId": typed}, wanted=STATUS_BASE + NOT_FOUND)
    check(not stored.exists(), "the file of a deleted job is there:", stored)


def check_all(arguments, folder, stack):
    """Starts everything, calls everything, ends everything."""
    data = folder / "data"

    def start(name, *more):
        program = Program(arguments.programs, name, folder / f"{name}.log", *more)
        stack.callback(program.process.kill)
        return program

    serve = ["serve", "--data-dir", data, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]
    serving = r'"serving"[^\n]*"address":"([^"]+)"'
    forge = start(
        "forge-sim", "--listen", "127.0.0.1:0", "--data-dir", folder / "forge",
        "--step-time-ms", "0", "--load-time-ms", "0",
        "--api-auth", "fox:den", "--gradio-auth", "hare:form",
    )
    root = folder / "library"
    root.mkdir()
    models = start("model-service", *serve, "--library-root", f"main={root}", "--offline")
    models_address = models.said(serving)
    jobs = start("job-service", *serve, "--model-service", f"http://{models_address}")
    jobs_address = jobs.said(serving)
    forge_url = forge.said(r"(http://127\.0\.0\.1:\d+)")
    called, served = set(), set()
    for address, names, calls in (
        (
            models_address,
            {MODELS, AVAILABILITY, LIBRARY, ADMIN, OPERATIONS},
            [
                lambda each: call_admin(each, "model-service", data / "mobilesd_models.sqlite"),
                call_operations,
                call_models,
                lambda each: call_library(each, root),
            ],
        ),
        (
            jobs_address,
            {JOBS, SERVERS, KEYS, ADMIN, OPERATIONS},
            [
                call_keys,
                lambda each: call_admin(each, "job-service", data / "mobilesd_jobs.sqlite"),
                call_operations,
                lambda each: call_servers(each, forge_url),
                lambda each: call_jobs(each, data / "images"),
            ],
        ),
    ):
        service = Service(arguments.grpcurl, address, set())
        listed = service.names()
        check(names <= listed, "not listed:", names - listed)
        print("  ", address, *sorted(listed), flush=True)
        check_health(service, names)
        ours = set()
        for name in listed:
            if name.startswith("stablequeue."):
                ours |= {"/".join(method.rsplit(".", 1)) for method in service.names(name)}
        for each in calls:
            each(service)
        check(service.called == ours, "never called here:", ours - service.called)
        called |= service.called
        served |= ours
    everything = declared(arguments.protos)
    check(served == everything, "declared and served differ:", served ^ everything)
    check(called == everything, "never called:", everything - called)
    for program in (jobs, models, forge):
        code = program.stop()
        check(code == 0, program.name, "ended with", code, program.log.read_text())
    print(f"grpcurl: {len(called)} methods called, none left out", flush=True)


def main():
    """Reads the command line and runs the check in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grpcurl", required=True)
    parser.add_argument("--programs", required=True, type=pathlib.Path)
    parser.add_argument("--protos", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        try:
            check_all(arguments, pathlib.Path(folder), stack)
        except (Failed, StopIteration) as error:
            raise SystemExit(f"grpcurl check failed: {error}") from error


if __name__ == "__main__":
    main()
