"""Engine.IO in front of Django, which is a project of one file here.

python django_app.py runserver, or gunicorn -w 1 --threads 100 django_app:application

Then open http://127.0.0.1:8000/, and from a shell:
curl -d text=hi http://127.0.0.1:8000/broadcast
"""

import sys
from pathlib import Path

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_POST

import engineio

STATIC = Path(__file__).resolve().parent / "static"

settings.configure(
    DEBUG=True,
    SECRET_KEY="only for an example",  # noqa: S106
    ROOT_URLCONF=__name__,
    WSGI_APPLICATION=f"{__name__}.application",
)

eio = engineio.Server(async_mode="threading")
# In a project this line is in wsgi.py, where `get_wsgi_application()` stands alone.
application = engineio.WSGIApp(eio, get_wsgi_application(), static_files={"/static": str(STATIC)})


def index(request: HttpRequest) -> HttpResponse:
    return HttpResponse((STATIC / "simple.html").read_bytes())


@require_POST  # type: ignore[untyped-decorator,unused-ignore]
def broadcast(request: HttpRequest) -> HttpResponse:
    eio.broadcast(request.POST.get("text", ""))
    return JsonResponse({"clients": len(eio.sids)})


urlpatterns = [path("", index), path("broadcast", broadcast)]


@eio.on("message")
def message(sid: str, data: object) -> None:
    eio.send(sid, data)


if __name__ == "__main__":
    execute_from_command_line(sys.argv)
