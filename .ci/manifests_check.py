"""Renders the Kubernetes manifests of deploy/ and validates them strictly.

Beside the schemas of Kubernetes, the rules of this project are checked: one pod
for each service, nothing runs as root or can write outside its volumes, and
only settings that the programs read are set.

usage: manifests_check.py --kubectl PROGRAM --programs FOLDER
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import kubernetes_validate
import yaml

from grpcurl_check import Failed, check

DEPLOY = pathlib.Path("deploy")
KUBERNETES = DEPLOY / "kubernetes"
# From the first version in which ReadWriteOncePod is for everybody.
VERSIONS = ("1.29", "1.37")
# Kinds of others, of which there is no schema here.
WITHOUT_SCHEMA = {("monitoring.coreos.com/v1", "ServiceMonitor")}
SERVICES = ("job-service", "model-service")
# The user of the images.
USER = 10001


def run(*command, cwd=None):
    """What a command prints; it must succeed."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    check(done.returncode == 0, *command, "ended with", done.returncode, done.stderr)
    return done.stdout


def render(kubectl, folder):
    """The objects of a kustomization."""
    return [each for each in yaml.safe_load_all(run(kubectl, "kustomize", folder)) if each]


def validate(name, objects):
    """Every object has the form that its kind has in Kubernetes."""
    for each in objects:
        kind = (each["apiVersion"], each["kind"])
        what = f"{name}: {each['kind']} {each['metadata']['name']}"
        if kind in WITHOUT_SCHEMA:
            print(f"    {what}: no schema, only rendered")
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(each, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                raise Failed(f"{what}, Kubernetes {version}: {error}") from error


def of_kind(objects, kind):
    """The objects of a kind, by name."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def check_pod(name, pod):
    """Nothing in a pod is root, and only its volumes can be written."""
    context = pod["securityContext"]
    check(context["runAsNonRoot"] and context["runAsUser"] == USER, name, context)
    check(context["seccompProfile"] == {"type": "RuntimeDefault"}, name, context)
    check(pod["automountServiceAccountToken"] is False, name, "has a token of the cluster")
    for container in pod["containers"]:
        context = container["securityContext"]
        check(context["readOnlyRootFilesystem"], name, context)
        check(context["allowPrivilegeEscalation"] is False, name, context)
        check(context["capabilities"] == {"drop": ["ALL"]}, name, context)
        check("readinessProbe" in container, name, "has no readiness probe")
        check("memory" in container["resources"]["limits"], name, "has no limit of memory")


def check_services(name, objects, access_mode):
    """Both services are there, once each, with all that belongs to them."""
    sets = of_kind(objects, "StatefulSet")
    check(set(sets) == set(SERVICES), name, "has", *sets)
    for service, each in sets.items():
        spec = each["spec"]
        check(spec["replicas"] == 1, name, service, "has", spec["replicas"], "replicas")
        modes = spec["volumeClaimTemplates"][0]["spec"]["accessModes"]
        check(modes == [access_mode], name, service, modes)
        container = spec["template"]["spec"]["containers"][0]
        for probe in ("startupProbe", "livenessProbe"):
            check(probe in container, name, service, "has no", probe)
        check("grpc" in container["readinessProbe"], name, service, "is not asked over gRPC")
        headless = of_kind(objects, "Service")[spec["serviceName"]]
        check(headless["spec"]["clusterIP"] == "None", name, service, "is not headless")
        for kind in ("PodDisruptionBudget", "NetworkPolicy"):
            check(service in of_kind(objects, kind), name, service, "has no", kind)
    for kind in ("StatefulSet", "Deployment"):
        for pod, each in of_kind(objects, kind).items():
            check_pod(f"{name}: {pod}", each["spec"]["template"]["spec"])


def settings(programs, service):
    """The variables that a service reads, as it says itself."""
    clean = {"PATH": os.environ["PATH"]}
    printed = subprocess.run(
        [programs / service, "print-config"], env=clean, capture_output=True, text=True, check=True
    )
    found = {each["variable"] for each in json.loads(printed.stdout).values()}
    check(len(found) > 5, service, "says it reads", *found)
    return found


def check_settings(programs, name, service, variables):
    """Nothing is set that the service does not read."""
    unknown = set(variables) - settings(programs, service)
    check(not unknown, name, "sets what", service, "does not read:", *unknown)


def main():
    """Reads the command line and checks everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kubectl", required=True)
    parser.add_argument("--programs", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for service in SERVICES:
        check_settings(arguments.programs, "compose.yaml", service, compose[service]["environment"])
    with tempfile.TemporaryDirectory() as folder:
        # A copy, since the secrets are made in it.
        copy = pathlib.Path(folder) / "kubernetes"
        shutil.copytree(KUBERNETES, copy, ignore=shutil.ignore_patterns("secrets"))
        run(DEPLOY / "make-secrets.sh", copy / "overlays/dev/secrets")
        monitored = copy / "overlays/monitored"
        monitored.mkdir()
        kustomization = {"resources": ["../../base"], "components": ["../../components/monitoring"]}
        (monitored / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        rendered = {
            "base": (copy / "base", "ReadWriteOncePod"),
            "dev": (copy / "overlays/dev", "ReadWriteOnce"),
            "base with monitoring": (monitored, "ReadWriteOncePod"),
        }
        for name, (where, access_mode) in rendered.items():
            objects = render(arguments.kubectl, where)
            validate(name, objects)
            check_services(name, objects, access_mode)
            for service, each in of_kind(objects, "StatefulSet").items():
                container = each["spec"]["template"]["spec"]["containers"][0]
                variables = [variable["name"] for variable in container["env"]]
                check_settings(arguments.programs, name, service, variables)
            print(f"manifests: {name}: {len(objects)} objects are good", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        raise SystemExit(f"manifests check failed: {error}") from error
