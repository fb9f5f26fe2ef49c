"""Reads manifests of Kubernetes in YAML from standard input and prints each as a line of JSON.

The arguments are versions of Kubernetes. Each manifest must fit the schemas of all of them; "known" says whether they have one.
"""

import json
import sys

import kubernetes_validate
import yaml

for manifest in yaml.safe_load_all(sys.stdin):
    known = True
    for version in sys.argv[1:]:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            known = False
    print(json.dumps({"known": known, "manifest": manifest}))
