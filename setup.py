"""What setup.cfg cannot say: two files belong beside the packages, not into one.

They make `gunicorn -k eventlet` work; `deploy/gunicorn/hook/_engineio_gunicorn.py` says how.
"""

from setuptools import setup
from setuptools.command.build_py import build_py

HOOK = ("python-engineio-gunicorn.pth", "_engineio_gunicorn.py")


class BuildWithHook(build_py):
    """Builds the packages, and puts the hook beside them."""

    def run(self) -> None:
        """Build."""
        super().run()
        for name in HOOK:
            self.copy_file(f"deploy/gunicorn/hook/{name}", self.build_lib)


setup(cmdclass={"build_py": BuildWithHook})
