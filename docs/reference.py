"""Pages that are made from the source: one a module, and the fields of a configuration."""

import ast
import re
from pathlib import Path

import giga
from giga.io.configuration.priors import SETS

PACKAGE = Path(giga.__file__).parent

# Sections of a configuration, in the order of the page, and the classes that they are read into.
SECTIONS = {
    "`[run]`": "RunConfig",
    "`[[observation]]`": "ObservationConfig",
    "`cutout` of an observation": "CutoutConfig",
    "`mask_keep` and `mask_exclude` of an observation": "RingConfig",
    "`[likelihood]`": "LikelihoodConfig",
    "`[lens]`": "LensConfig",
    "`[[points]]`": "PointsConfig",
    "`[cluster]`": "ClusterConfig",
    "`[start]`": "StartConfig",
    "`[inference]`": "FitConfig",
}


def write_pages(folder: Path) -> None:
    """Write one page a module and their index; pages that would not change are left alone."""
    modules = public_modules()
    pages = {f"{name}.md": f"# {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n" for name in modules}
    rows = [f"[`{name}`]({name}.md)\n: {summary(ast.parse(path.read_text()))}\n" for name, path in modules.items()]
    toctree = "\n".join(modules)
    pages["index.md"] = "\n".join(["# Reference\n", *rows, f"```{{toctree}}\n:hidden:\n\n{toctree}\n```\n"])
    for old in folder.glob("*.md"):
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        write_if_changed(folder / name, text)


def write_fields(path: Path) -> None:
    """Write the tables of the fields of a configuration."""
    files = (PACKAGE / "io" / "images" / "config.py", PACKAGE / "io" / "configuration" / "points.py",
             PACKAGE / "io" / "configuration" / "cluster.py", PACKAGE / "inference" / "settings.py")
    classes = {name: found for file in files for name, found in config_classes(file).items()}
    tables = [table(section, *classes[name]) for section, name in SECTIONS.items()]
    write_if_changed(path, "\n".join(tables))


def write_priors(path: Path) -> None:
    """Write the tables of the named sets of priors."""
    pages = []
    for name, rules in SETS.items():
        rows = [f"### `{name}`\n", "| section | profiles | parameter | gets | why |", "|---|---|---|---|---|"]
        for rule in rules:
            which = "" if rule.part is None else " (the first of several)" if rule.part == 0 else " (the others)"
            value = str(rule.value) if isinstance(rule.value, int) else rule.value.words
            cells = (f"`{rule.section}`", ", ".join(rule.profiles) + which or "all",
                     ", ".join(f"`{one}`" for one in rule.parameters), value, rule.reason)
            rows.append("| " + " | ".join(cells) + " |")
        pages.append("\n".join(rows) + "\n")
    write_if_changed(path, "\n".join(pages))


def public_modules() -> dict[str, Path]:
    """The modules of giga by name, without private ones and empty packages."""
    found = {}
    for folder in (PACKAGE, PACKAGE / "models"):  # the link is not followed by itself
        for path in folder.rglob("*.py"):
            parts = path.relative_to(PACKAGE).with_suffix("").parts
            name = ".".join(("giga", *parts)).removesuffix(".__init__")
            if path.stat().st_size and not re.search(r"\._", name):
                found[name] = path
    return dict(sorted(found.items()))


def summary(node: ast.Module | ast.ClassDef) -> str:
    """First paragraph of a docstring, on one line."""
    return " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())


def config_classes(path: Path) -> dict[str, tuple[ast.ClassDef, str]]:
    """Classes of a file whose name ends in Config, with the text of the file."""
    text = path.read_text()
    return {node.name: (node, text) for node in ast.parse(text).body
            if isinstance(node, ast.ClassDef) and node.name.endswith("Config")}


def table(title: str, node: ast.ClassDef, text: str) -> str:
    """One configuration class as a Markdown table; meanings are its comments, or the section Attributes."""
    rows = [f"### {title}\n", f"{summary(node)}\n", "| field | type | default | meaning |", "|---|---|---|---|"]
    meanings = attributes(ast.get_docstring(node) or "")
    for field in node.body:
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        name, line = field.target.id, text.splitlines()[field.end_lineno - 1]
        comment = line[field.end_col_offset:].strip().removeprefix("#").strip()
        cells = (f"`{name}`", f"`{kind(field.annotation)}`", default(field.value), comment or meanings.get(name, ""))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def attributes(docstring: str) -> dict[str, str]:
    """Meaning of each attribute in the section Attributes of a docstring."""
    _, _, section = docstring.partition("Attributes:\n")
    found = {}
    for names, meaning in re.findall(r"^    (\w[\w, ]*): (.*(?:\n {8}.*)*)", section, re.MULTILINE):
        found |= {name.strip(): " ".join(meaning.split()) for name in names.split(",")}
    return found


def kind(annotation: ast.expr) -> str:
    """A type as the writer of a TOML file sees it."""
    text = ast.unparse(annotation).replace(" | None", "").replace("Path", "path").replace(", ...", "")
    return re.sub(r"Literal\[(.*?)\]", lambda m: m.group(1).replace(", ", " | ").replace("'", '"'), text)


def default(value: ast.expr | None) -> str:
    """The default of a field; what takes a range, such as `above(0.0, 1.0)`, has it last."""
    if isinstance(value, ast.Call):
        keywords = {k.arg: k.value for k in value.keywords}
        value = keywords.get("default", value.args[1] if len(value.args) > 1 else None)
    if value is None:
        return "needed"
    text = ast.unparse(value)
    return {"None": "none", "()": "none"}.get(text, f"`{text}`".replace("'", '"'))


def write_if_changed(path: Path, text: str) -> None:
    """Write a file unless it has the text already."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
