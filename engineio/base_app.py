"""What WSGIApp and ASGIApp share: which paths are whose. Nothing here waits."""

from engineio.static_files import StaticFiles, check_static_files


class BaseApp:
    """The settings of an application around an Engine.IO server, checked when they are set."""

    @property
    def static_files(self) -> StaticFiles:
        """The static files; setting None means none, and ValueError is raised as by the class."""
        return self._static_files

    @static_files.setter
    def static_files(self, static_files: StaticFiles | None) -> None:
        if static_files is None:
            static_files = {}
        check_static_files(static_files)
        self._static_files = static_files

    @property
    def engineio_path(self) -> str | None:
        """The path of the Engine.IO server, with a slash at both ends; None is every path."""
        return self._engineio_path

    @engineio_path.setter
    def engineio_path(self, path: str | None) -> None:
        if path is not None:
            path = path.strip("/")
            path = f"/{path}/" if path else "/"
        self._engineio_path = path

    def _is_engineio_path(self, path: str) -> bool:
        prefix = self._engineio_path
        if prefix is None or path.startswith(prefix):
            return True
        return prefix == "/" or path == prefix[:-1]
