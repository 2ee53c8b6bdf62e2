# SPDX-License-Identifier: Apache-2.0
"""Reads the public headers into a description of all that they declare.

This is no parser of C. It knows the few forms in which include/poslabel declares enums, structs, init macros and
functions, and fails on anything else, so that nothing is left out unnoticed. The comment of a tensor field has the
notation that poslabel/tensor.h explains. All errors are ValueError.
"""

import json
import re

DTYPES = {
    "f16": "float16",
    "bf16": "bfloat16",
    "f32": "float32",
    "f64": "float64",
    "i32": "int32",
    "i64": "int64",
    "u8": "uint8",
    "bool": "bool",
}
SIZE = r"(?:\w+(?: [+-] \w+)*)"
SHAPE = rf"\[(?:(?:\.\.\.|{SIZE})(?:, {SIZE})*)?\]"
TENSOR = "const poslabel_tensor *"
NUMBERS = ("int32_t", "int64_t", "uint8_t", "uint16_t", "uint32_t", "uint64_t", "size_t", "double")
MACROS_OF_NO_STRUCT = r"POSLABEL_(API|H|\w+_H|VERSION\w*|CPU_TENSOR)"


def tensor(comment):
    """What the comment of a tensor field says."""
    if not comment:
        raise ValueError("a tensor needs a comment, such as /* in [B, N] f32 f64, or NULL */")
    text = " ".join(comment.split())
    direction = re.match(r"in out(?= )|in(?= )|out(?= )", text)
    if not direction:
        raise ValueError(f"unknown direction in '{text}', must begin with in, out or in out")
    found = re.fullmatch(rf"({SHAPE}(?: or {SHAPE})*) ([^,]+)(, or NULL)?", text[direction.end() :].strip())
    if not found:
        raise ValueError(f"'{text}' is not: direction, shapes, dtypes and perhaps ', or NULL'")
    shapes, dtypes, optional = found.groups()
    like = re.fullmatch(r"like (\w+)( or f32)?", dtypes)
    names = [] if like else list(DTYPES) if dtypes == "any" else dtypes.split()
    for name in names:
        if name not in DTYPES:
            raise ValueError(f"unknown dtype '{name}' in '{text}', must be one of {' '.join(DTYPES)}, any, like NAME")
    return {
        "direction": direction.group(),
        "shapes": [shape.split(", ") if shape else [] for shape in re.findall(r"\[(.*?)\]", shapes)],
        "dtypes": [DTYPES[name] for name in names],
        "like": like[1] if like else None,
        "or_float32": bool(like and like[2]),
        "optional": bool(optional),
    }


def one_space(text):
    return " ".join(text.split())


def declarator(text):
    """The type and the name of a field or a parameter."""
    text = one_space(text)
    function = re.fullmatch(r"(.+)\(\*(\w+)\)(\(.*\))", text)
    if function:
        return f"{function[1]}(*){function[3]}", function[2]
    found = re.fullmatch(r"(.*?[ *])(\w+)(\[\d+\])?", text)
    if not found:
        raise ValueError(f"'{text}' does not declare one name")
    return found[1].strip() + (" " + found[3] if found[3] else ""), found[2]


class Headers:
    """All headers of a folder. The order of everything is that of the headers, which come in alphabetical order."""

    def __init__(self, folder):
        self.dtypes, self.enums, self.callbacks, self.structs, self.functions = [], [], [], [], []
        self.opaque, self.version, self.defaults = [], [], {}
        for path in sorted(folder.glob("poslabel/*.h")):
            self.header = path.relative_to(folder).as_posix()
            self.read(path.read_text())
        self.enum_of = {value["name"]: enum["name"] for enum in self.enums for value in enum["values"]}
        for struct in self.structs:
            self.complete(struct)
        if self.defaults:
            raise ValueError(f"{', '.join(self.defaults)}: there is no struct of this name")
        self.operations = self.take_operations()
        if {name for name, _, _ in self.dtypes} != set(DTYPES.values()):
            raise ValueError(f"the dtypes of poslabel/tensor.h are not {', '.join(DTYPES.values())}")

    def fail(self, *what):
        raise ValueError(f"include/{self.header}: {': '.join(what)}")

    def read(self, text):
        for name, body in re.findall(r"#define (POSLABEL_\w+)\b((?:.*\\\n)*.*)", text):
            self.read_macro(name, one_space(body.replace("\\\n", " ")))
        text = re.sub(r"(?m)^#(?:.*\\\n)*.*\n", "\n", text)  # the preprocessor's lines
        text = re.sub(r'extern "C" \{\n|^\}$', "", text, flags=re.MULTILINE)
        doc = r"(?:/\*((?:(?!\*/).)*)\*/\n)?"
        forms = {
            doc + r"typedef enum (\w+) \{\n(.*?)\n\} \2;": self.read_enum,
            r"typedef struct (\w+) \{\n(.*?)\n\} \1;": self.read_struct,
            r"typedef struct (\w+) \1;": self.opaque.append,
            r"typedef (\w+) \(\*(\w+)\)\(([^;]*)\);": self.read_callback,
            r"POSLABEL_API ([^;{}]+?)(\w+)\(([^;{}]*)\);": self.read_function,
        }
        for form, read in forms.items():
            for found in re.findall(form, text, re.DOTALL):
                read(*(found if isinstance(found, tuple) else (found,)))
            text = re.sub(form, "", text, flags=re.DOTALL)
        rest = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).split()
        if rest:
            self.fail("unknown form of declaration: " + " ".join(rest[:8]))

    def read_macro(self, name, body):
        dtype = re.fullmatch(r"\{(POSLABEL_CODE_\w+), (\d+), 1\}", body)
        if dtype:
            self.dtypes.append((name.removeprefix("POSLABEL_").lower(), dtype[1], int(dtype[2])))
        elif name.endswith("_INIT"):
            text = body.replace("{", "[").replace("}", "]").replace("NULL", "null")
            text = re.sub(r"sizeof\(\w+\)", '"sizeof"', text)
            self.defaults[name] = json.loads(re.sub(r"\b(POSLABEL_\w+)", r'"\1"', text))
        elif re.fullmatch(r"POSLABEL_VERSION_(MAJOR|MINOR|PATCH)", name):
            self.version.append(body)
        elif not re.fullmatch(MACROS_OF_NO_STRUCT, name):
            self.fail(f"unknown kind of macro {name}")

    def read_enum(self, doc, name, body):
        value = re.compile(r"\s*(\w+) = (\d+),?[ \t]*(?:/\*.*?\*/)?", re.DOTALL)
        if value.sub("", body).strip():
            self.fail(name, "an enumerator that is not NAME = NUMBER")
        paragraphs = [one_space(part.replace("\n *", "\n")) for part in doc.strip(" \n*").split("\n *\n")]
        # A longer comment is about more than the enum.
        about = paragraphs[0] if len(paragraphs) < 3 else ""
        values = [{"name": key, "value": int(number)} for key, number in value.findall(body)]
        enum = {"name": name, "header": self.header, "flags": name.endswith("_flag")}
        self.enums.append({**enum, "about": about, "values": values})

    def read_struct(self, name, body):
        fields = []
        field = re.compile(r"\s*([^;/]+);[ \t]*(?:/\*(.*?)\*/)?", re.DOTALL)
        if field.sub("", body).strip():
            self.fail(name, "a field that is not TYPE NAME; /* comment */")
        for text, comment in field.findall(body):
            type_, key = declarator(text)
            fields.append({"name": key, "type": type_})
            if type_ == TENSOR:
                try:
                    fields[-1].update(tensor(comment))
                except ValueError as error:
                    self.fail(name, key, str(error))
        for entry in fields:
            like = entry.get("like")
            source = next((other for other in fields if other["name"] == like), {})
            if like and (not source.get("dtypes") or source["like"]):
                self.fail(name, entry["name"], f"like {like}, which is no tensor of this struct with dtypes of its own")
            if like:
                also = ["float32"] if entry["or_float32"] else []
                entry["dtypes"] = source["dtypes"] + [dtype for dtype in also if dtype not in source["dtypes"]]
        self.structs.append({"name": name, "header": self.header, "fields": fields})

    def read_callback(self, returns, name, parameters):
        self.callbacks.append(self.prototype(name, returns, parameters))

    def read_function(self, returns, name, parameters):
        self.functions.append(self.prototype(name, returns, parameters))

    def prototype(self, name, returns, parameters):
        pairs = [] if parameters == "void" else [declarator(text) for text in parameters.split(",")]
        listed = [{"name": key, "type": type_} for type_, key in pairs]
        return {"name": name, "header": self.header, "returns": one_space(returns), "parameters": listed}

    def complete(self, struct):
        """Adds the kind of each field, and what the init macro, if there is one, gives it."""
        self.header = struct["header"]
        macro = struct["name"].upper() + "_INIT"
        struct["init"] = macro if macro in self.defaults else None
        values = self.defaults.pop(macro, None)
        if values is not None and len(values) != len(struct["fields"]):
            self.fail(struct["name"], f"{macro} has {len(values)} values for {len(struct['fields'])} fields")
        for index, field in enumerate(struct["fields"]):
            name, type_ = field["name"], field["type"]
            about = {"name": name, "type": type_, "kind": self.kind(name, type_)}
            if about["kind"] is None:
                self.fail(struct["name"], name, f"unknown type {type_}")
            if values is not None:
                about["default"] = values[index]
                if about["kind"] == "number":
                    about["enum"] = self.enum_of.get(values[index])
            struct["fields"][index] = {**about, **field}

    def kind(self, name, type_):
        """What sort of thing a field is; None: unknown."""
        if type_ == TENSOR:
            return "tensor"
        if "(*)" in type_ or type_ in (entry["name"] for entry in self.callbacks):
            return "function"
        if type_.endswith("*"):
            return "pointer"
        if type_ in (entry["name"] for entry in self.structs):
            return "struct"
        return "size" if name == "struct_size" else "number" if type_ in NUMBERS else None

    def take_operations(self):
        """The functions that take an args struct, with the fields of that struct; both are then listed nowhere else."""
        operations = []
        args = {entry["name"]: entry for entry in self.structs if entry["name"].endswith("_args")}
        for function in list(self.functions):
            name = function["name"]
            struct = args.pop(name + "_args", None)
            if struct is None:
                continue
            self.header = function["header"]
            types = [parameter["type"] for parameter in function["parameters"]]
            expected = ["poslabel_context *", f"const {struct['name']} *"]
            if (function["returns"], types) != ("poslabel_status", expected) or struct["init"] is None:
                self.fail(name, f"an operation is poslabel_status {name}({', '.join(expected)}), with an _INIT macro")
            self.functions.remove(function)
            self.structs.remove(struct)
            names = {"name": name.removeprefix("poslabel_"), "function": name, "args": struct["name"]}
            operations.append({**names, **{key: struct[key] for key in ("init", "header", "fields")}})
        for struct in args.values():
            self.header = struct["header"]
            self.fail(struct["name"], "there is no function for this struct")
        return operations
