"""Let `gunicorn -k eventlet` find an eventlet worker, also where gunicorn has none of its own.

gunicorn 26 removed its worker, and looks for `-k NAME` in a table of its own and in the entry
points of its own distribution only. So `python-engineio-gunicorn.pth` has Python import this when a
process called gunicorn starts; in all other processes that line does nothing.
"""

try:
    from gunicorn.workers import SUPPORTED_WORKERS
except ImportError:  # a program that only has the name
    SUPPORTED_WORKERS = {}

SUPPORTED_WORKERS.setdefault("eventlet", "engineio.gunicorn.EventletWorker")
