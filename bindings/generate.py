#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes what the bindings and a test need to know of the public headers.

    bindings/generate.py            writes the files
    bindings/generate.py --check    says which of them are stale, and then exits with status 1

    bindings/operations.json                      everything, for programs that make bindings
    bindings/python/poslabel/_declarations.py     the enums and structs, for ctypes
    tests/abi/macros.c                            every macro, for compilers of C and C++

In operations.json a dtype, an enum, a struct, a function and an operation are each one object. An operation is a
function whose last argument is an args struct; `fields` are that struct's, in their order. Each field has a `kind`:

    size      struct_size
    number    `enum` names the enumeration that the number belongs to, or is null
    struct    by value; `default` lists its fields
    tensor    `direction` is in, out or in out; `shapes` are alternatives, each a list of sizes such as "B", "P + N" or
              "..."; `dtypes` are all that some call accepts; `like` names the tensor whose dtype this one must have,
              where `or_float32` allows float32 too unless that dtype is float64; `optional` means that it may be NULL
    pointer   to anything else
    function  a pointer to a function

`default` is what the init macro `init` says, an enumerator by its name; structs without such a macro have none.
"""

import argparse
import json
import os
import pathlib
import sys
import textwrap

from headers import Headers

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMAND = "bindings/generate.py"
WIDTH = 120
CTYPES = {"int32_t": "c_int32", "int64_t": "c_int64", "uint8_t": "c_uint8", "uint16_t": "c_uint16"}
CTYPES.update({"uint32_t": "c_uint32", "uint64_t": "c_uint64", "size_t": "c_size_t", "double": "c_double"})


def pretty(value, indent=0, before=0):
    """JSON in which whatever fits on a line stands on one."""
    line = json.dumps(value)
    if not isinstance(value, (dict, list)) or indent + before + len(line) < WIDTH:
        return line
    named = isinstance(value, dict)
    keys = [f"{json.dumps(key)}: " for key in value] if named else [""] * len(value)
    members = value.values() if named else value
    inner = " " * (indent + 2)
    lines = [inner + key + pretty(member, indent + 2, len(key)) for key, member in zip(keys, members)]
    return "{["[not named] + "\n" + ",\n".join(lines) + "\n" + " " * indent + "}]"[not named]


def numbers(headers):
    """The value of each enumerator."""
    return {value["name"]: value["value"] for enum in headers.enums for value in enum["values"]}


def operations_json(headers):
    value = numbers(headers)
    return pretty({
        "about": f"Written by {COMMAND}, which explains the keys, from include/poslabel/*.h. Do not edit it.",
        "version": ".".join(headers.version),
        "dtypes": [
            {"name": name, "macro": "POSLABEL_" + name.upper(), "code": value[code], "bits": bits}
            for name, code, bits in headers.dtypes
        ],
        "enums": [
            {key: enum[key] for key in ("name", "header", "flags", "values")} for enum in headers.enums
        ],
        "opaque": headers.opaque,
        "callbacks": headers.callbacks,
        "structs": headers.structs,
        "functions": headers.functions,
        "operations": headers.operations,
    }) + "\n"  # fmt: skip


def class_name(name):
    """poslabel_droppos_loss_args is DropposLossArgs."""
    words = name.removeprefix("poslabel_").split("_")
    return "".join("DType" if word == "dtype" else word.capitalize() for word in words)


def member_names(enum):
    """What is left of the enumerators without the words that all of them begin with, and without ERROR_."""
    names = [value["name"] for value in enum["values"]]
    common = os.path.commonprefix(names)
    return [name[common.rfind("_") + 1 :].removeprefix("ERROR_") for name in names]


def python_enum(enum):
    kind = "IntFlag" if enum["flags"] else "IntEnum"
    about = f"{enum['name']}: {enum['about']}" if enum["about"] else f"{enum['name']} of {enum['header']}."
    text = textwrap.wrap(f'"""{about}', WIDTH - 3, initial_indent="    ", subsequent_indent="    ")
    text[-1] += '"""' if len(text) == 1 else '\n    """'
    lines = ["", "", f"class {class_name(enum['name'])}(enum.{kind}):", *text, ""]
    for name, value in zip(member_names(enum), enum["values"]):
        lines.append(f"    {name} = {value['value']}")
    return lines


def python_type(field):
    if field["kind"] == "struct":
        return class_name(field["type"])
    if field["kind"] == "function" and "(" not in field["type"]:
        return class_name(field["type"])
    return f"ctypes.{CTYPES[field['type']]}" if field["kind"] in ("size", "number") else "POINTER"


def python_struct(name, fields):
    lines = ["", "", f"class {class_name(name)}(ctypes.Structure):", f'    """{name}."""', "", "    _fields_ = ["]
    lines += [f'        ("{field["name"]}", {python_type(field)}),' for field in fields]
    return [*lines, "    ]"]


def python_callback(callback, headers):
    known = {"void *": "POINTER", "const char *": "ctypes.c_char_p"}
    known.update({enum["name"]: "ctypes.c_int" for enum in headers.enums})
    parameters = [known[parameter["type"]] for parameter in callback["parameters"]]
    returns = {"void": "None"}[callback["returns"]]
    return ["", f"{class_name(callback['name'])} = ctypes.CFUNCTYPE({', '.join([returns, *parameters])})"]


def by_value(structs):
    """Structs after those that they hold."""
    done = []
    while len(done) < len(structs):
        names = {struct["name"] for struct in done}
        for struct in structs:
            held = {field["type"] for field in struct["fields"] if field["kind"] == "struct"}
            if struct not in done and held <= names:
                done.append(struct)
    return done


def declarations_py(headers):
    value = numbers(headers)
    lines = ["# SPDX-License-Identifier: Apache-2.0"]
    lines += [f"# Written by {COMMAND} from include/poslabel/*.h. Do not edit it."]
    lines += ['"""The enums and structs of the headers."""', "", "from __future__ import annotations", ""]
    lines += ["import ctypes", "import enum", "from typing import Dict, Tuple, Type", "", "POINTER = ctypes.c_void_p"]
    lines += ["", "# The code and the bits of each dtype.", "DTYPES: Dict[str, Tuple[int, int]] = {"]
    lines += [f'    "{name}": ({value[code]}, {bits}),' for name, code, bits in headers.dtypes] + ["}"]
    for enum in headers.enums:
        lines += python_enum(enum)
    lines.append("")
    for callback in headers.callbacks:
        lines += python_callback(callback, headers)
    for struct in by_value(headers.structs):
        lines += python_struct(struct["name"], struct["fields"])
    for operation in headers.operations:
        lines += python_struct(operation["args"], operation["fields"])
    lines += ["", "", "# The args struct of each operation.", "ARGS: Dict[str, Type[ctypes.Structure]] = {"]
    lines += [f'    "{operation["name"]}": {class_name(operation["args"])},' for operation in headers.operations]
    return "\n".join(lines) + "\n}\n"


def macros_c(headers):
    structs = [(struct["name"], struct["init"]) for struct in headers.structs if struct["init"]]
    structs += [(operation["args"], operation["init"]) for operation in headers.operations]
    declared = [(name, name.removeprefix("poslabel_").removesuffix("_args"), macro) for name, macro in structs]
    text = [
        "/*",
        " * Every macro of the public headers, in C11 and in C++17.",
        f" * Written by {COMMAND} from the public headers. Do not edit it.",
        " * SPDX-License-Identifier: Apache-2.0",
        " */",
        "#include <poslabel.h>",
        "",
        "#if POSLABEL_VERSION < 100 || !defined(POSLABEL_API)",
        '#error "version macros"',
        "#endif",
        "",
        "int use_macros(void);",
        "",
        "int use_macros(void)",
        "{",
        "    static float data[6];",
        "    static const int64_t shape[] = {2, 3};",
        *(f"    {type_} {name} = {macro};" for type_, name, macro in declared),
        "    poslabel_tensor tensor = POSLABEL_CPU_TENSOR(data, POSLABEL_FLOAT32, 2, shape);",
        "    poslabel_dtype dtypes[] = {",
        *(f"        POSLABEL_{name.upper()}," for name, _, _ in headers.dtypes),
        "    };",
        "    size_t size = 0;",
        *(f"    size += {name}.struct_size;" for _, name, _ in declared),
        "    return (int)size + tensor.ndim + dtypes[0].bits;",
        "}",
    ]
    return "\n".join(text) + "\n"


FILES = {
    "bindings/operations.json": operations_json,
    "bindings/python/poslabel/_declarations.py": declarations_py,
    "tests/abi/macros.c": macros_c,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    parser.add_argument("--root", type=pathlib.Path, default=ROOT, help="another source tree")
    options = parser.parse_args()
    try:
        headers = Headers(options.root / "include")
    except ValueError as error:
        sys.exit(f"{COMMAND}: {error}")
    stale = False
    for name, write in FILES.items():
        path, text = options.root / name, write(headers)
        if path.exists() and path.read_text() == text:
            continue
        if options.check:
            stale = True
            print(f"{name} is stale; renew it with {COMMAND}")
        else:
            path.write_text(text)
            print(f"wrote {name}")
    sys.exit(stale)


if __name__ == "__main__":
    main()
