"""Whether a browser reached this script through the guard of the app's server, which asks who it is."""

from __future__ import annotations

import os
import secrets

import streamlit as st


def signed_in() -> bool:
    """False for a browser that reached Streamlit without the guard; true where there is no browser, as in tests."""
    if "Host" not in st.context.headers:
        return True
    proof = os.environ.get("WORKBENCH_APP_PROOF", "")
    shown = st.context.headers.get("X-Workbench-App") or ""
    return bool(proof) and secrets.compare_digest(shown.encode(), proof.encode())


def draw_refusal() -> None:
    """What such a browser sees."""
    st.title("Nobody is signed in")
    st.markdown(
        "This server was started without its sign-in, so it shows nothing. Start the app with `workbench up`, then "
        "open the link that it prints."
    )
