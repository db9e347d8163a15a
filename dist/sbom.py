#!/usr/bin/env python3
"""The crates that a release is linked from, as a CycloneDX 1.5 document on standard output: sbom.py VERSION."""

import json
import subprocess
import sys


def main() -> int:
    version = sys.argv[1]
    told = subprocess.run(["cargo", "metadata", "--format-version", "1", "--locked"], capture_output=True, text=True, check=True)
    metadata = json.loads(told.stdout)
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    # Everything that is reached from the package without its tests.
    reached, left = set(), [metadata["resolve"]["root"]]
    while left:
        node = nodes[left.pop()]
        for dependency in node["deps"]:
            if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]) and dependency["pkg"] not in reached:
                reached.add(dependency["pkg"])
                left.append(dependency["pkg"])
    components = [
        {
            "type": "library",
            "name": package["name"],
            "version": package["version"],
            "purl": f"pkg:cargo/{package['name']}@{package['version']}",
            "licenses": [{"expression": (package["license"] or "unknown").replace("/", " OR ")}],
        }
        for package in sorted(metadata["packages"], key=lambda package: (package["name"], package["version"]))
        if package["id"] in reached
    ]
    json.dump({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "memkv", "version": version}},
        "components": components,
    }, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
