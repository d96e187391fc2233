"""The proof that nothing in the record was altered or removed."""

from __future__ import annotations

import streamlit as st

from parts import notice
from parts.connection import bench
from parts.formatting import prose


def draw_check() -> None:
    """A button that checks the record, and what it found."""
    st.markdown(
        "Every record carries the hash of the one before it; sealed files are hashed and signed. The check reads them "
        "again and names the first record that does not fit."
    )
    deep = st.toggle(
        "Check every line", help="Slower: not only the hashes of sealed files, but each chain, line by line."
    )
    if st.button("Verify the record", type="primary", icon=":material/verified:"):
        with notice.shown(), st.spinner("The record is being read …", show_time=True):
            st.session_state["verification"] = bench().verify(deep=deep)
    found = st.session_state.get("verification")
    if found is None:
        st.caption("The result appears here. In a terminal: `workbench audit verify`.")
    elif found.ok:
        st.success(prose(found), title="Nothing was altered or removed", icon=":material/verified:")
    else:
        st.error(prose(found), title="The record was altered", icon=":material/gpp_bad:")
