"""A page with an account's avatar, in Django: ``python examples/django_app.py runserver``.

Needs ``pip install "atproto-imageproxy[django]"``. A project has these settings in its ``settings.py``, the paths in
its ``urls.py`` and the page in a template; under ASGI it includes ``imageproxy.web.django.async_urls``.
"""

import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import include, path

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    INSTALLED_APPS=["imageproxy.web.django"],
    ROOT_URLCONF=__name__,
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    IMAGE_PROXY={"CACHE_MAX_GB": 5},  # what is not said here is taken from the IMAGE_PROXY_* variables
)

PAGE = """{% load imageproxy %}<!doctype html>
<title>{{ did }}</title>
<h1>{% blob_image "avatar" did avatar alt="" srcset="avatar_small" sizes="6rem" class="avatar" %} {{ did }}</h1>
"""


def profile(_: HttpRequest, did: str, cid: str) -> HttpResponse:
    # An app has the blob reference in the record of the profile: blob_image takes that, too.
    page = engines["django"].from_string(PAGE)
    return HttpResponse(page.render({"did": did, "avatar": cid}).encode())


urlpatterns = [
    path("img/", include("imageproxy.web.django.urls")),
    path("profile/<did>/<cid>", profile),
]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
else:
    application = get_wsgi_application()
