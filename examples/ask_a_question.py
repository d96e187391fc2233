"""Have a question answered with tools, and see which tools were called.

The provider `planner` needs no key; leave `provider` out to use a language model whose key is set.
"""

import tempfile

import workbench

with (
    tempfile.TemporaryDirectory() as home,
    workbench.open(home=home, attach=False, servers="crm,tickets") as wb,
):
    run = wb.ask("What is the account status of john.smith@acme.com?", provider="planner")
    for call in run.calls:
        print("called", call.tool, "ok" if call.ok else "failed")
    if run.started is not None:
        print("answered by", run.started.provider)
    print(run.answer)
