"""Django settings, and `manage.py runserver` with the contract application."""

import sys

from contract_app import app as application

DEBUG = False
ALLOWED_HOSTS = ["*"]
SECRET_KEY = "only for tests"
ROOT_URLCONF = "django_contract"
WSGI_APPLICATION = "django_contract.application"
LOGGING_CONFIG = None
urlpatterns: list[object] = []

__all__ = ["application"]

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(["manage.py", "runserver", "--noreload", sys.argv[1]])
