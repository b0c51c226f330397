"""Django with python-socketio: gunicorn --threads 100 example_django:application."""

# mypy: disable-error-code="import-not-found"

import django
import socketio
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from example_events import PAGE, Events

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="secret")
django.setup()


def index(request: HttpRequest) -> HttpResponse:
    return HttpResponse(PAGE)


urlpatterns = [path("", index)]

sio = socketio.Server(async_mode="threading")
sio.register_namespace(Events("/"))
application = socketio.WSGIApp(sio, get_wsgi_application())
