#!/usr/bin/env python3
"""Rules of the repository as a whole: who may include whom, no paths outside, links that lead somewhere.

usage: repo_test.py ROOT RULE   (a rule is one of the functions below named check_RULE; "all" runs every one)
"""
import hashlib
import os
import re
import subprocess
import sys
import urllib.parse

ROOT = ""

# A library's headers and the folders of src/ that may include them. What is not named here may be used anywhere.
LIBRARY_HOMES = [
    (r"hdf5.*\.h|H5(?!PLextern)\w*\.h", {"archive"}),
    (r"H5PLextern\.h", {"plugin"}),
    (r"mpi\.h", {"comm"}),
    (r"nccl\.h", {"torch"}),
    (r"(torch|ATen|c10|caffe2)/.*", {"torch"}),
    (r"boost/.*", {"commands"}),
    (r"(archive|archive_entry)\.h", {"corpus"}),
]
MOST_LINES = 600
LONG_FILES = {
    "src/tokens/unicode_tables.cpp": "generated",
}
SOURCE_ENDINGS = (".h", ".hpp", ".cpp", ".cc", ".c", ".cu", ".cuh")
CODE_ENDINGS = SOURCE_ENDINGS + (".py", ".sh", ".cmake", "CMakeLists.txt")


def files():
    """All files under version control or about to be; without git, all that do not lie in a build folder."""
    try:
        listed = subprocess.run(
            ["git", "-c", "safe.directory=*", "-C", ROOT, "ls-files", "-z", "-co", "--exclude-standard"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout.decode().split("\0")
        return sorted({f for f in listed if f and os.path.isfile(os.path.join(ROOT, f))})
    except (OSError, subprocess.CalledProcessError):
        found = []
        for folder, folders, names in os.walk(ROOT):
            folders[:] = [d for d in folders if d not in (".git", "__pycache__") and not d.startswith("build")]
            found += [os.path.relpath(os.path.join(folder, n), ROOT) for n in names]
        return sorted(found)


def text_of(path):
    with open(os.path.join(ROOT, path), "rb") as f:
        return f.read().decode("utf-8", "replace")


def allowed_folders():
    """folder -> folders it may include, from the table in src/README.md (| `folder` | job | may include |)."""
    table = {}
    for line in text_of("src/README.md").splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if len(cells) == 3 and re.fullmatch(r"`\w+`", cells[0]):
            table[cells[0].strip("`")] = set(re.findall(r"`(\w+)`", cells[2])) or ({"*"} if cells[2] == "all" else set())
    return table


def folder_files():
    for path in files():
        parts = path.split("/")
        if parts[0] == "src" and len(parts) > 2 and path.endswith(SOURCE_ENDINGS):
            yield parts[1], path


def includes_of(path):
    for number, line in enumerate(text_of(path).splitlines(), 1):
        found = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
        if found:
            yield number, found.group(1), found.group(2)


def check_includes():
    """Each folder includes only what the table in src/README.md allows, and outside libraries stay in their homes."""
    wrong, table = [], allowed_folders()
    there = {folder for folder, _ in folder_files()}
    for folder in sorted(there ^ set(table)):
        wrong.append(f"src/README.md: folder '{folder}' is only " + ("in src/" if folder in there else "in the table"))
    order = list(table)
    for folder, may in table.items():
        for other in may - {"*"}:
            if other not in table:
                wrong.append(f"src/README.md: {folder} may include '{other}', which is not in the table")
            elif order.index(other) > order.index(folder):
                wrong.append(f"src/README.md: {folder} may include {other}, which stands below it: rows go upwards only")
    for folder, path in folder_files():
        may = table.get(folder, set())
        for number, mark, name in includes_of(path):
            home = name.split("/")[0] if "/" in name else ""
            if mark == '"' and home in there:
                if home != folder and home not in may and "*" not in may:
                    wrong.append(f"{path}:{number}: {folder} must not include {name}")
                if not os.path.isfile(os.path.join(ROOT, "src", name)):
                    wrong.append(f"{path}:{number}: no such file: src/{name}")
            elif mark == '"' and not home and os.path.isfile(os.path.join(ROOT, os.path.dirname(path), name)):
                wrong.append(f'{path}:{number}: write "{folder}/{name}"')
            for pattern, homes in LIBRARY_HOMES:
                if re.fullmatch(pattern, name) and folder not in homes:
                    wrong.append(f"{path}:{number}: {name} belongs in {', '.join(sorted(homes))} only")
    return wrong


def check_links():
    """CMake links of each folder are among what the table allows and cover what the folder includes."""
    wrong, table, links, home_of = [], allowed_folders(), {}, {}
    for folder in table:  # a folder may have a second library, such as llmc_embedded_model
        path = f"src/{folder}/CMakeLists.txt"
        if os.path.isfile(os.path.join(ROOT, path)):
            home_of.update({name: folder for name in [folder] + re.findall(r"llmc_folder\((\w+)", text_of(path))})
    for folder in table:
        path = f"src/{folder}/CMakeLists.txt"
        if not os.path.isfile(os.path.join(ROOT, path)):
            wrong.append(f"{path}: missing")
            continue
        text = re.sub(r"#.*", "", text_of(path))
        named = {home_of[name] for name in re.findall(r"\bllmc_(\w+)", text) if name in home_of}
        for call in re.findall(r"llmc_folder\(([^)]*)\)", text):
            words, mode = call.split(), ""
            for word in words[1:]:
                if word in ("SOURCES", "LINKS", "PRIVATE"):
                    mode = word
                elif mode == "LINKS":
                    named.add(home_of.get(word, word))
        links[folder] = named - {folder}
        if "*" not in table[folder]:
            for other in sorted(links[folder] - table[folder]):
                wrong.append(f"{path}: links {other}, which the table in src/README.md does not allow")

    def reach(folder, seen):
        for other in links.get(folder, ()):
            if other not in seen:
                seen.add(other)
                reach(other, seen)
        return seen

    for folder, path in folder_files():
        have = reach(folder, {folder})
        for number, mark, name in includes_of(path):
            home = name.split("/")[0] if "/" in name else ""
            if mark == '"' and home in links and home not in have:
                wrong.append(f"{path}:{number}: includes {name}, but src/{folder}/CMakeLists.txt does not link {home}")
    return wrong


def check_lengths():
    """No source file over 600 lines unless it is in the list with a reason."""
    wrong = []
    for path in files():
        if path.endswith(CODE_ENDINGS):
            lines = text_of(path).count("\n")
            if lines > MOST_LINES and path not in LONG_FILES:
                wrong.append(f"{path}: {lines} lines, at most {MOST_LINES}: split it")
    for path in LONG_FILES:
        if not os.path.isfile(os.path.join(ROOT, path)):
            wrong.append(f"{path}: is in the list of long files but does not exist")
    return wrong


def check_names():
    """Files of a folder are compiled together (LLMC_UNITY): what stands in their unnamed namespaces has different names.
    Types in headers have different names in a namespace, whatever their folders: the linker keeps one of two."""
    wrong, homes = [], {}
    kind = re.compile(r"(?:class|struct|enum class|enum) (\w+)(?: final)?\s*(?:[:{]|$)")
    value = re.compile(r"(?:constexpr|const|static)\b[^=(]*?\b(\w+)(?:\[[^\]]*\])*(?: =|\{|;)")
    function = re.compile(r"(?!return|if|for|while|using|else|class|struct|enum)[A-Za-z_][\w:<>,*& ]*[ *&>](\w+)\(([^)]*)")
    for folder, path in folder_files():
        if not path.endswith(".cpp") or folder == "exact":  # compiled file by file
            continue
        for body in re.findall(r"^namespace \{\n(.*?)^\}  // namespace$", text_of(path), re.S | re.M):
            for line in body.split("\n"):
                found = kind.match(line) or value.match(line)
                name = found.group(1) if found else ""
                if not name and (found := function.match(line)):
                    kinds = [re.sub(r"\s*\w+$", "", a.split("=")[0].strip()) for a in found.group(2).split(",")]
                    name = f"{found.group(1)}({', '.join(kinds)})"
                if name and homes.setdefault((folder, name), path) != path:
                    wrong.append(f"{path}: {name} stands in {homes[folder, name]} too")
    types = {}
    for folder, path in folder_files():
        if not path.endswith(".h"):
            continue
        text = text_of(path)
        for found in re.finditer(r"^(?:struct|class|union|enum class) (?:alignas\([^)]*\) )?(\w+)(?: final)?(?: :[^{;]*)?\s*\{", text, re.M):
            opened = re.findall(r"^(?:namespace ([\w:]+) \{|\}  // namespace ([\w:]+))$", text[:found.start()], re.M)
            scope = [a for a, b in opened if a and ("", a) not in opened]
            key = "::".join(scope + [found.group(1)])
            if types.setdefault(key, path) != path:
                wrong.append(f"{path}: {key} stands in {types[key]} too")
    return wrong


def check_paths():
    """No file names a path outside the repository that only some machines have."""
    start = r"(?<![\w.])/"  # not within a longer path
    forbidden = re.compile("|".join([
        r"\.\./" + "shared", start + "work/", start + "root/", start + r"home/(?!USER|user|me\b|you\b|\.)\w"]))
    wrong = []
    for path in files():
        if path.startswith(("tests/data/text/", "models/", "tests/data/tokenizers/")):
            continue
        for number, line in enumerate(text_of(path).splitlines(), 1):
            if forbidden.search(line):
                wrong.append(f"{path}:{number}: {line.strip()[:120]}")
    return wrong


def anchors(text):
    """GitHub's names of a document's headings."""
    found = set()
    for heading in re.findall(r"^#{1,6}\s+(.*)$", text, re.M):
        plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


def check_documents():
    """Each relative link in a Markdown file leads to a file (and heading) of the repository."""
    wrong = []
    for path in files():
        if not path.endswith(".md") or path.startswith("tests/data/text/"):
            continue
        text = re.sub(r"```.*?```", "", text_of(path), flags=re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = urllib.parse.unquote(target).partition("#")
            to = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
            if to.startswith("..") or not os.path.exists(os.path.join(ROOT, to)):
                wrong.append(f"{path}: link to {target}: no such file")
            elif anchor and to.endswith(".md") and anchor not in anchors(text_of(to)):
                wrong.append(f"{path}: link to {target}: no such heading")
        # Paths named in code font must exist too: docs are read by following them.
        for name in re.findall(r"`((?:src|tests|tools|docs|cmake|models|configs|jobs|slurm|python)/[\w./-]+)`", text):
            if not os.path.exists(os.path.join(ROOT, name.rstrip("/"))):
                wrong.append(f"{path}: names `{name}`, which does not exist")
    return wrong


def check_scripts():
    """Scripts are executable and parse; documents that a newcomer looks for exist."""
    wrong = []
    for path in ("README.md", "LICENSE", "CONTRIBUTING.md", "src/README.md", "demo.sh", "test.sh", ".ci/run"):
        if not os.path.isfile(os.path.join(ROOT, path)):
            wrong.append(f"{path}: missing")
    for path in files():
        first = text_of(path).split("\n", 1)[0] if path.endswith((".sh", ".py")) or path == ".ci/run" else ""
        if first.startswith("#!") and not os.access(os.path.join(ROOT, path), os.X_OK):
            wrong.append(f"{path}: starts with #! but is not executable")
        if "bash" in first or (first and path.endswith(".sh")):
            done = subprocess.run(["bash", "-n", os.path.join(ROOT, path)], stderr=subprocess.PIPE)
            if done.returncode:
                wrong.append(done.stderr.decode())
        elif path.endswith(".py"):
            try:
                compile(text_of(path), path, "exec")
            except SyntaxError as error:
                wrong.append(f"{path}: {error}")
    for script in ("demo.sh", "test.sh"):
        for words, code, where in ((["--help"], 0, "usage: " + script), (["--nonsense"], 2, "'--nonsense'")):
            done = subprocess.run([os.path.join(ROOT, script), *words], cwd="/", stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if done.returncode != code or where not in done.stdout.decode():
                wrong.append(f"{script} {' '.join(words)}: exit {done.returncode}: {done.stdout.decode()[:200]}")
    return wrong


def check_data():
    """tests/data: at most 6 MB, each text unchanged and named with its licence."""
    wrong, total = [], 0
    readme = text_of("tests/data/README.md")
    sums = dict(reversed(line.split(None, 1)) for line in text_of("tests/data/SHA256SUMS").splitlines())
    for path in files():
        if not path.startswith("tests/data/"):
            continue
        total += os.path.getsize(os.path.join(ROOT, path))
        name = path[len("tests/data/"):]
        if "/" not in name:
            continue
        with open(os.path.join(ROOT, path), "rb") as f:
            digest = hashlib.sha256(f.read()).hexdigest()
        if sums.pop(name, None) != digest:
            wrong.append(f"{path}: not as in tests/data/SHA256SUMS")
        if f"| {os.path.basename(path)} |" not in readme:
            wrong.append(f"{path}: tests/data/README.md does not name its source and licence")
    wrong += [f"tests/data/{name}: in SHA256SUMS but not there" for name in sums]
    if total > 6_000_000:
        wrong.append(f"tests/data: {total} bytes, at most 6,000,000")
    return wrong


def check_flags():
    """No compiler flag that lets two machines compute different bits."""
    loose = re.compile(r"-f" + r"fast-math|-O" + r"fast|use_fast" + r"_math|-ffp-contract=(?!off)|-funsafe-math|-march=native")
    return [f"{path}:{number}: {line.strip()}" for path in files() if path.endswith(("CMakeLists.txt", ".cmake", ".json"))
            and not path.startswith("models/")
            for number, line in enumerate(text_of(path).splitlines(), 1) if loose.search(line.split("#")[0])]


def main():
    global ROOT
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    ROOT = os.path.abspath(sys.argv[1])
    rules = {name[6:]: rule for name, rule in globals().items() if name.startswith("check_")}
    if sys.argv[2] not in [*rules, "all"]:
        sys.exit(f"no rule '{sys.argv[2]}'; known: all, {', '.join(rules)}")
    bad = False
    for name, rule in rules.items() if sys.argv[2] == "all" else [(sys.argv[2], rules[sys.argv[2]])]:
        wrong = rule()
        bad = bad or bool(wrong)
        print(f"{name}: " + ("ok" if not wrong else f"{len(wrong)} wrong"))
        print("".join(f"  {line}\n" for line in wrong), end="")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
