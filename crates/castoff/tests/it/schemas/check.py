# Checks a document on standard input against a schema of this directory; what it refers to is here, too.
import json, os, sys
import jsonschema
directory, name = sys.argv[1:]
store = {}
for file in os.listdir(directory):
    if file.endswith(".json"):
        with open(os.path.join(directory, file)) as text:
            schema = json.load(text)
        store[schema["$id"]] = schema
        if file == name:
            wanted = schema
def refuse(uri):
    raise RuntimeError("not in the repository: " + uri)
handlers = {"http": refuse, "https": refuse}
resolver = jsonschema.RefResolver(wanted["$id"], wanted, store, handlers=handlers)
checker = jsonschema.Draft7Validator(wanted, resolver=resolver, format_checker=jsonschema.FormatChecker())
errors = [f"{'/'.join(map(str, error.path))}: {error.message[:300]}" for error in checker.iter_errors(json.load(sys.stdin))]
print("\n".join(errors) or "it fits")
