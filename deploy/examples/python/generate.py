"""Makes the stubs of JobService from the protos of this repository, beside this file."""

import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
PROTOS = HERE.parents[2] / "proto"
NEEDED = ["stablequeue/jobs/v1/job.proto", "stablequeue/jobs/v1/job_service.proto"]


def main() -> int:
    """Run the compiler that comes with grpcio-tools; answer its exit code."""
    well_known = resources.files("grpc_tools") / "_proto"
    code: int = protoc.main(
        [
            "protoc",
            f"-I{PROTOS}",
            f"-I{well_known}",
            f"--python_out={HERE}",
            f"--pyi_out={HERE}",
            f"--grpc_python_out={HERE}",
            *NEEDED,
        ]
    )
    return code


if __name__ == "__main__":
    sys.exit(main())
