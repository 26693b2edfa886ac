# Checks layout directories against the JSON schemas of the OCI image specification, as Debian's package
# golang-github-opencontainers-image-spec-dev has them: every document that index.json leads to.
import json, os, sys
import jsonschema
schemas = "/usr/share/gocode/src/github.com/opencontainers/image-spec/schema/"
home = "file:///schema/"
def plain(value):
    # Without the names of the parts, by which references would be looked for in the network.
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items() if key != "id" or not isinstance(part, str)}
    return [plain(part) for part in value] if isinstance(value, list) else value
store = {home + name: plain(json.load(open(schemas + name))) for name in os.listdir(schemas) if name.endswith(".json")}
named = {
    "application/vnd.oci.image.index.v1+json": "image-index-schema.json",
    "application/vnd.oci.image.manifest.v1+json": "image-manifest-schema.json",
    "application/vnd.oci.image.config.v1+json": "config-schema.json",
}
def check(text, schema):
    schema = store[home + schema]
    resolver = jsonschema.RefResolver(home, schema, store)
    document = json.loads(text)
    jsonschema.Draft4Validator(schema, resolver=resolver, format_checker=jsonschema.FormatChecker()).validate(document)
    return document
def walk(descriptor):
    schema = named.get(descriptor["mediaType"])
    if schema is None:
        return 0
    with open(os.path.join("blobs", descriptor["digest"].replace(":", "/"))) as file:
        document = check(file.read(), schema)
    parts = document.get("manifests", []) + ([document["config"]] if "layers" in document else [])
    return 1 + sum(walk(part) for part in parts)
for layout in sys.argv[1:]:
    os.chdir(layout)
    check(open("oci-layout").read(), "image-layout-schema.json")
    index = check(open("index.json").read(), "image-index-schema.json")
    print(layout, sum(walk(entry) for entry in index["manifests"]))
