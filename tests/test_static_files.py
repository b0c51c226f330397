"""Which file a path gets, and how a request for a file is answered: by values."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engineio.static_files import (
    FileResponse,
    StaticFiles,
    check_static_files,
    content_types,
    file_response,
    get_static_file,
    guess_content_type,
    open_file,
)

posix_only = pytest.mark.skipif(os.name == "nt", reason="needs POSIX file types")


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `public` beside a file that must never be served; the current directory."""
    for name in (
        "index.html",
        "secret.txt",
        "public/index.html",
        "public/home.html",
        "public/app.js",
        "public/sub/index.html",
        "public/sub/a b.txt",
        "public/größe.txt",
        "public/..hidden",
        "publicity/x.txt",
        "other/app.js",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def filename(path: str, static_files: StaticFiles) -> str | None:
    found = get_static_file(path, static_files)
    return found["filename"] if found else None


# The forms of a mapping


@pytest.mark.parametrize(
    ("path", "static_files", "expected"),
    [
        ("/", {"/": "index.html"}, "index.html"),
        ("/", {"/": {"filename": "index.html", "content_type": "x/y"}}, "index.html"),
        ("/static/app.js", {"/static": "./public"}, "./public/app.js"),
        ("/static/app.js", {"/static": "public/"}, "public/app.js"),
        ("/static/app.js", {"/static/": "public"}, "public/app.js"),
        ("/static/app.js", {"/static/": "public/"}, "public/app.js"),
        ("/static/sub/a b.txt", {"/static": "public"}, "public/sub/a b.txt"),
        ("/static/größe.txt", {"/static": "public"}, "public/größe.txt"),
        ("/static/..hidden", {"/static": "public"}, "public/..hidden"),
        ("/app.js", {"/": "public"}, "public/app.js"),
        ("/app.js", {"": "public"}, "public/app.js"),
        ("/app.js", {"/": "public/", "": "home.html"}, "public/app.js"),
        # A path that ends in a slash
        ("/static/", {"/static": "public"}, "public/index.html"),
        ("/static/", {"/static/": "public/"}, "public/index.html"),
        ("/static/", {"/static/": "public"}, "public/index.html"),
        ("/", {"/": "public"}, "public/index.html"),
        ("/", {"/": "public", "": "home.html"}, "public/home.html"),
        ("/static/", {"/static": "public", "": {"filename": "home.html"}}, "public/home.html"),
        ("/static/sub/", {"/static": "public"}, "public/sub/index.html"),
        # Literal keys, then patterns, then the longest folder
        ("/s/sub/x", {"/s": "public", "/s/sub": "other"}, "other/x"),
        ("/s/sub/app.js", {"/s/sub": "other", "/s": "public"}, "other/app.js"),
        ("/s/subway", {"/s/sub": "other", "/s": "public"}, "public/subway"),
        ("/s/app.js", {"/s/(.*)": r"other/\1", "/s/app.js": "public/app.js"}, "public/app.js"),
        ("/s/app.js", {"/s": "public", "/s/(.*)": r"other/\1"}, "other/app.js"),
        ("/s/app.js", {"/s/(.*)": r"other/\1", "/(.*)": r"public/\1"}, "other/app.js"),
        # Patterns
        ("/s/sub/a b.txt", {"/s/(.*)": r"public/\1"}, "public/sub/a b.txt"),
        ("/s/sub/", {"/s/(.*)": r"public/\1"}, "public/sub/index.html"),
        ("/s/app", {r"/s/(?P<name>\w+)": r"public/\g<name>.js"}, "public/app.js"),
        ("/v2/app", {r"/v(\d)/(\w+)": r"public/\g<2>.js"}, "public/app.js"),
        ("/js/app", {r"/(x)?js/(\w+)": r"public/\1\2.js"}, "public/app.js"),
        ("/any/where", {"/any/(.*)": "index.html"}, "index.html"),
        ("/app", {"/(.*)": r"public/\1.js"}, "public/app.js"),
        # Literal keys that look like patterns
        ("/a(1)/app.js", {"/a(1)": "public"}, "public/app.js"),
        ("/c++/app.js", {"/c++": "public"}, "public/app.js"),
        # Missing files are the caller's to notice, as ever
        ("/static/missing.txt", {"/static": "public"}, "public/missing.txt"),
        ("/missing", {"/missing": "nowhere.txt"}, "nowhere.txt"),
    ],
)
def test_found(path: str, static_files: StaticFiles, expected: str) -> None:
    check_static_files(static_files)
    assert filename(path, static_files) == expected


@pytest.mark.parametrize(
    ("path", "static_files"),
    [
        ("/", {}),
        ("/foo", {"/bar": "public"}),
        ("/staticfoo", {"/static": "public"}),
        ("/x/s/app.js", {"/s/(.*)": r"public/\1"}),
        ("/s/app.js/x", {r"/s/(\w+\.js)": r"public/\1"}),
        ("*", {"/": "public"}),
        ("", {"/": "public"}),
        ("app.js", {"": "public", "/": "public"}),
        # Directories
        ("/static", {"/static": "public"}),
        ("/static/sub", {"/static": "public"}),
        ("/s/sub", {"/s/(.*)": r"public/\1"}),
    ],
)
def test_not_found(path: str, static_files: StaticFiles) -> None:
    assert get_static_file(path, static_files) is None


def test_the_result_is_a_dict_of_two() -> None:
    mapping = {"/x": {"filename": "index.html"}}
    found = get_static_file("/x", mapping)
    assert found == {"filename": "index.html", "content_type": "text/html"}
    assert mapping == {"/x": {"filename": "index.html"}}


def test_given_content_types() -> None:
    mapping = {
        "/s": {"filename": "public", "content_type": "text/plain; charset=utf-8"},
        "": {"filename": "home.html", "content_type": "x/default"},
    }
    assert get_static_file("/s/app.js", mapping) == {
        "filename": "public/app.js",
        "content_type": "text/plain; charset=utf-8",
    }
    assert get_static_file("/s/", mapping) == {
        "filename": "public/home.html",
        "content_type": "x/default",
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.html", "text/html"),
        ("A.HTML", "text/html"),
        ("a.js", "application/javascript"),
        ("a.tar.gz", "application/gzip"),
        ("a.svg", "image/svg+xml"),
        ("a.webp", "image/webp"),
        ("a.woff2", "font/woff2"),
        ("a.pdf", "application/pdf"),
        ("data:text/html,x", "application/octet-stream"),
        ("html", "application/octet-stream"),
        ("a.zzzz", "application/octet-stream"),
        ("a.html/b", "application/octet-stream"),
    ],
)
def test_guessed_content_types(name: str, expected: str) -> None:
    assert guess_content_type(name) == expected


def test_applications_add_content_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(content_types, "zzzz", "x/z")
    assert guess_content_type("a.zzzz") == "x/z"


# Never outside


@pytest.mark.parametrize(
    "rest",
    [
        "../secret.txt",
        "sub/../../secret.txt",
        "sub/../app.js",
        "..",
        "../",
        "../publicity/x.txt",
        "%2e%2e/secret.txt",
        "%2E./secret.txt",
        "..%2fsecret.txt",
        "%2e%2e%5csecret.txt",
        "..\\secret.txt",
        "sub\\index.html",
        "app.js\0",
        "\0",
        "app.js%00.html",
        "\udcff",
        "x" * 300,
        "x/" * 5000,
    ],
)
@pytest.mark.parametrize(
    "mapping",
    [
        {"/s": "public"},
        {"/s/": "public/"},
        {"/s": "sub/../public"},
        {"/s/(.*)": r"public/\1"},
        {"/s/(?s:(.*))": r"public/\1"},
    ],
)
def test_never_outside(rest: str, mapping: StaticFiles) -> None:
    assert get_static_file(f"/s/{rest}", mapping) is None


@pytest.mark.parametrize("key", ["/s", "/s/"])
def test_absolute_paths_stay_inside(site: Path, key: str) -> None:
    secret = str(site / "secret.txt")
    found = filename(f"/s/{secret}", {key: "public/"})
    assert found is not None
    assert os.path.normpath(found) == os.path.join("public", secret[1:])
    assert get_static_file(f"/s/{secret}", {"/s/(.*)": r"\1", "/": "public"}) == {
        "filename": secret,
        "content_type": "text/plain",
    }  # '\1' is mapped to the current directory, and the file is in it
    assert get_static_file("/s//etc/passwd", {"/s/(.*)": r"\1"}) is None


@posix_only
def test_symbolic_links(site: Path) -> None:
    (site / "public/out.txt").symlink_to(site / "secret.txt")
    (site / "public/up").symlink_to(site)
    (site / "public/near").symlink_to(site / "publicity")
    (site / "public/dangling").symlink_to(site / "nowhere")
    (site / "public/loop").symlink_to("loop")
    (site / "public/in.txt").symlink_to("app.js")
    (site / "current").symlink_to("public")
    for mapping in ({"/s": "public"}, {"/s/(.*)": r"public/\1"}):
        for rest in ("out.txt", "up/secret.txt", "near/x.txt", "dangling", "loop"):
            assert get_static_file(f"/s/{rest}", mapping) is None
        assert filename("/s/in.txt", mapping) == "public/in.txt"
    # What the application itself named may be a link to anywhere.
    assert filename("/s/app.js", {"/s": "current"}) == "current/app.js"
    assert filename("/x", {"/x": "public/out.txt"}) == "public/out.txt"


@posix_only
def test_only_regular_files(site: Path) -> None:
    os.mkfifo(site / "public/fifo")
    # A short name: the path of a socket may have some 100 bytes.
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("public/socket")
        (site / "public/null").symlink_to("/dev/null")
        for name in ("fifo", "socket", "null"):
            assert get_static_file(f"/s/{name}", {"/s": "public"}) is None
            assert get_static_file("/x", {"/x": f"public/{name}"}) is None
            assert open_file(f"public/{name}") is None
    assert get_static_file("/x", {"/x": "/dev/zero"}) is None


@posix_only
def test_a_fifo_that_comes_late_does_not_block(site: Path) -> None:
    """os.stat sees a file, os.open a FIFO: a subprocess, as it would block for good."""
    os.mkfifo(site / "fifo")
    code = """
import os
from engineio import static_files
regular, real_stat = os.stat("index.html"), os.stat
os.stat = lambda name: regular
assert static_files.open_file("fifo") is None
assert static_files.open_file("public") is None
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=30)


@given(st.text(alphabet="./\\%25eE\0as\udc80", max_size=20) | st.text(max_size=20))
def test_any_path_stays_inside(rest: str) -> None:
    root = os.path.realpath("public")
    for mapping in ({"/s": "public"}, {"/s/(.*)": r"public/\1"}, {"/s/": "public/"}):
        found = get_static_file(f"/s/{rest}", mapping)
        if found is not None:
            assert os.path.realpath(found["filename"]).startswith(root + os.sep)


# Mistakes of the application


@pytest.mark.parametrize(
    ("static_files", "message"),
    [
        ({"/s/(": "x"}, "'/s/(': invalid pattern"),
        ({"/s/(.*": r"x/\1"}, "invalid pattern"),
        ({"/s/(*)": r"x/\1"}, "invalid pattern"),
        ({"/s/(.*)": r"x/\2"}, r"missing group '\\\\2'"),
        ({"/s/(?:.*)": r"x/\1"}, "missing group"),
        ({"/s/(.*)": r"x/\g<name>"}, "missing group"),
        ({"/s/(.*)": r"x/\g<1"}, "bad group reference"),
        ({"/s/.*": r"x/\1"}, "key has none"),
        ({"/s": None}, "not a file name"),
        ({"/s": b"x"}, "not a file name"),
        ({"/s": {"content_type": "text/html"}}, "not a file name"),
        ({"/s": {"filename": "x", "content_type": 5}}, "not a file name"),
        ({"/s": {"filename": "x", "content_type": "a/b\r\nX: y"}}, "bad content type"),
    ],
)
def test_mistakes_are_told(static_files: StaticFiles, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        check_static_files(static_files)


def test_a_bad_pattern_added_later_matches_nothing() -> None:
    assert get_static_file("/s/x", {"/s/(": "x", "/t/(.*)": r"public/\2", "/s": "public"}) == {
        "filename": "public/x",
        "content_type": "application/octet-stream",
    }
    assert get_static_file("/t/x", {"/t/(.*)": r"public/\2"}) is None


# Opening


def test_open_file(site: Path) -> None:
    opened = open_file("public/app.js")
    assert opened is not None
    file, info = opened
    with file:
        assert file.read() == b"public/app.js"
        assert info.st_size == 13


@pytest.mark.parametrize("name", ["", "nowhere", "public", "public/", "x\0", "\ud800", "x" * 9999])
def test_cannot_be_opened(name: str) -> None:
    assert open_file(name) is None


# Conditions and ranges

MTIME = 1_700_000_000  # Tue, 14 Nov 2023 22:13:20 GMT
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
BEFORE = "Tue, 14 Nov 2023 22:13:19 GMT"
AFTER = "Tue, 14 Nov 2023 22:13:21 GMT"


@pytest.fixture
def info(tmp_path: Path) -> os.stat_result:
    path = tmp_path / "100"
    path.write_bytes(bytes(100))
    os.utime(path, ns=(0, MTIME * 10**9 + 500))
    return path.stat()


@pytest.fixture
def empty(tmp_path: Path) -> os.stat_result:
    path = tmp_path / "0"
    path.touch()
    return path.stat()


def etag_of(info: os.stat_result) -> str:
    return dict(file_response("GET", {}, info, "x/y").headers)["ETag"]


def test_whole_file(info: os.stat_result) -> None:
    response = file_response("GET", {}, info, "text/html")
    assert response == FileResponse("200 OK", response.headers, 0, 100)
    assert dict(response.headers) == {
        "Content-Type": "text/html",
        "Content-Length": "100",
        "ETag": f'"{MTIME * 10**9 + 500:x}-64"',
        "Last-Modified": DATE,
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
    }
    head = file_response("HEAD", {"range": "bytes=0-1"}, info, "text/html")
    assert head == FileResponse("200 OK", response.headers, 0, 0)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get", ""])
def test_other_methods(method: str, info: os.stat_result) -> None:
    response = file_response(method, {}, info, "text/html")
    assert (response.status, response.length) == ("405 Method Not Allowed", 0)
    headers = dict(response.headers)
    assert (headers["Allow"], headers["Content-Length"]) == ("GET, HEAD", "0")


def test_a_change_changes_the_etag(info: os.stat_result, tmp_path: Path) -> None:
    path = tmp_path / "100"
    os.utime(path, ns=(0, MTIME * 10**9 + 501))
    assert etag_of(path.stat()) != etag_of(info)
    path.write_bytes(b"")
    os.utime(path, ns=(0, info.st_mtime_ns))
    assert etag_of(path.stat()) != etag_of(info)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if-none-match": "{etag}"}, 304),
        ({"if-none-match": "W/{etag}"}, 304),
        ({"if-none-match": '"a,b", W/"c" ,{etag}'}, 304),
        ({"if-none-match": " * "}, 304),
        ({"if-none-match": '"other"'}, 200),
        ({"if-none-match": '"*"'}, 200),
        ({"if-none-match": ""}, 200),
        ({"if-none-match": '"' * 5000}, 200),
        ({"if-none-match": '"other"', "if-modified-since": AFTER}, 200),
        ({"if-none-match": "{etag}", "if-modified-since": BEFORE}, 304),
        ({"if-modified-since": DATE}, 304),
        ({"if-modified-since": AFTER}, 304),
        ({"if-modified-since": BEFORE}, 200),
        ({"if-modified-since": "Tuesday, 14-Nov-23 22:13:20 GMT"}, 304),
        ({"if-modified-since": "Tue Nov 14 22:13:20 2023"}, 304),
        ({"if-modified-since": "Tue Nov 14 22:13:19 2023"}, 200),
        ({"if-modified-since": "tomorrow"}, 200),
        ({"if-modified-since": "Tue, 14 Nov 99999 22:13:20 GMT"}, 200),
        ({"if-modified-since": "Tue, 14 Nov 2023 " + "9" * 5000}, 200),
        ({"if-modified-since": ""}, 200),
        ({"if-none-match": "{etag}", "range": "bytes=0-1"}, 304),
        ({"if-none-match": "{etag}", "range": "bytes=100-"}, 304),
    ],
)
def test_conditions(
    method: str, headers: dict[str, str], status: int, info: os.stat_result
) -> None:
    headers = {name: value.replace("{etag}", etag_of(info)) for name, value in headers.items()}
    response = file_response(method, headers, info, "x/y")
    assert int(response.status[:3]) == status
    names = {name for name, _ in response.headers}
    assert {"ETag", "Last-Modified"} <= names
    if status == 304:
        assert response.length == 0
        assert not names & {"Content-Type", "Content-Length"}


@pytest.mark.parametrize(
    ("value", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=10-19", 10, 20),
        ("bytes=99-", 99, 100),
        ("bytes=90-1000", 90, 100),
        ("bytes=-1", 99, 100),
        ("bytes=-1000", 0, 100),
        ("Bytes= 010-0019 ", 10, 20),
        ("bytes=5-" + "9" * 5000, 5, 100),
        ("bytes=-" + "9" * 5000, 0, 100),
    ],
)
def test_ranges(value: str, start: int, stop: int, info: os.stat_result) -> None:
    response = file_response("GET", {"range": value}, info, "x/y")
    assert response == FileResponse("206 Partial Content", response.headers, start, stop - start)
    headers = dict(response.headers)
    assert headers["Content-Range"] == f"bytes {start}-{stop - 1}/100"
    assert headers["Content-Length"] == str(stop - start)
    assert headers["Content-Type"] == "x/y"
    assert headers["ETag"] == etag_of(info)


@pytest.mark.parametrize(
    "value", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=" + "9" * 5000 + "-"]
)
def test_unsatisfiable_ranges(value: str, info: os.stat_result) -> None:
    response = file_response("GET", {"range": value}, info, "x/y")
    assert (response.status, response.length) == ("416 Range Not Satisfiable", 0)
    assert dict(response.headers)["Content-Range"] == "bytes */100"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=1",
        "bytes=20-10",
        "bytes=--1",
        "bytes=+1-2",
        "bytes=\u0661-\u0662",
        "bytes=1-2-3",
        "bytes =1-2",
        "lines=1-2",
        "bytes=0-1,5-6",
        "bytes=0-1,500-600",
    ],
)
def test_ignored_ranges(value: str, info: os.stat_result) -> None:
    response = file_response("GET", {"range": value}, info, "x/y")
    assert response == file_response("GET", {}, info, "x/y")


def test_ranges_of_an_empty_file(empty: os.stat_result) -> None:
    status = {
        value: file_response("GET", {"range": value}, empty, "x/y").status[:3]
        for value in ("bytes=0-", "bytes=0-0", "bytes=-0", "bytes=-5")
    }
    assert status == {"bytes=0-": "416", "bytes=0-0": "416", "bytes=-0": "416", "bytes=-5": "200"}


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ("{etag}", 206),
        (" {etag} ", 206),
        ("W/{etag}", 200),
        ('"other"', 200),
        ("{etag}, {etag}", 200),
        (DATE, 206),
        (BEFORE, 200),
        (AFTER, 200),
        ("", 200),
    ],
)
def test_if_range(condition: str, status: int, info: os.stat_result) -> None:
    headers = {"range": "bytes=1-2", "if-range": condition.replace("{etag}", etag_of(info))}
    assert int(file_response("GET", headers, info, "x/y").status[:3]) == status


@posix_only
def test_an_odd_modification_time(tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.touch()
    os.utime(path, (-1, -1))
    response = file_response("GET", {}, path.stat(), "x/y")
    assert dict(response.headers)["Last-Modified"] == "Wed, 31 Dec 1969 23:59:59 GMT"
    far = os.stat_result(list(path.stat()), {"st_mtime_ns": 10**21})
    assert "Last-Modified" not in dict(file_response("GET", {}, far, "x/y").headers)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.text(alphabet='bytes=-0123456789, "W/*', max_size=25) | st.text(max_size=25)
            for name in ("if-none-match", "if-modified-since", "if-range", "range")
        },
    )
)
def test_any_request_gets_a_consistent_answer(headers: dict[str, str]) -> None:
    info = os.stat("index.html")
    response = file_response("GET", headers, info, "x/y")
    assert 0 <= response.start <= response.start + response.length <= info.st_size
    length = dict(response.headers).get("Content-Length")
    assert length == (None if response.status[:3] == "304" else str(response.length))
