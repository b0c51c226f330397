"""Engine.IO in front of asynchronous Django, which is a project of one file here.

uvicorn django_app:application, then open http://127.0.0.1:8000/, and from a shell:
curl -d text=hi http://127.0.0.1:8000/broadcast
"""

from pathlib import Path

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_POST

import engineio

STATIC = Path(__file__).resolve().parent.parent / "wsgi" / "static"

settings.configure(
    DEBUG=True,
    SECRET_KEY="only for an example",  # noqa: S106
    ROOT_URLCONF=__name__,
)

eio = engineio.AsyncServer(async_mode="asgi")
# In a project this line is in asgi.py, where `get_asgi_application()` stands alone.
application = engineio.ASGIApp(eio, get_asgi_application(), static_files={"/static": str(STATIC)})


def index(request: HttpRequest) -> HttpResponse:
    return HttpResponse((STATIC / "simple.html").read_bytes())


@require_POST  # type: ignore[untyped-decorator,unused-ignore]
async def broadcast(request: HttpRequest) -> HttpResponse:
    await eio.broadcast(request.POST.get("text", ""))
    return JsonResponse({"clients": len(eio.sids)})


urlpatterns = [path("", index), path("broadcast", broadcast)]


@eio.on("message")
async def message(sid: str, data: object) -> None:
    await eio.send(sid, data)
