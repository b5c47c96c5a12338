"""A page with an account's avatar, in Flask: ``flask --app examples/flask_app run``.

Needs ``pip install "atproto-imageproxy[flask]"``. The options come from the environment, see ``Config.from_env``.
"""

from flask import Flask, render_template_string

from imageproxy.web.flask import ImageProxy

PAGE = """<!doctype html>
<title>{{ did }}</title>
<h1>{{ blob_image("avatar", did, avatar, alt="", srcset="avatar_small", sizes="6rem", class_="avatar") }} {{ did }}</h1>
"""

app = Flask(__name__)
images = ImageProxy(app)  # answers below /img, and adds blob_image and blob_image_url to the templates


@app.get("/profile/<did>/<cid>")
def profile(did: str, cid: str) -> str:
    # An app has the blob reference in the record of the profile: blob_image takes that, too.
    return render_template_string(PAGE, did=did, avatar=cid)
