# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What happened to john.smith@acme.com?
# A tour in ten cells: find tools, call one, ask a question, and query the record of all of it. Nothing needs a key.

# %%
import tempfile

import workbench

# a state folder of its own, so that the notebook always starts from nothing; leave `home` out to use yours
wb = workbench.open(home=tempfile.mkdtemp(prefix="workbench-tour-") + "/home", attach=False)
wb

# %% [markdown]
# Tools are found by words and by meaning.

# %%
wb.tools("invoice", limit=5)

# %% [markdown]
# A call is an ordinary method. A tool's failure is a value, not an exception.

# %%
customer = wb.call("crm.search_customers", query="john.smith@acme.com")
customer

# %%
wrong = wb.call("crm.search_customers", quary="smith")
print(wrong.kind, "-", wrong.message)

# %% [markdown]
# A question is answered by whoever is ready: a provider whose key is set, the embedded model, or the planner.

# %%
run = wb.ask(
    "Customer john.smith@acme.com says their subscription renewal failed last week. What is their account status, "
    "do they have any open support tickets, and what does their payment history look like?",
    provider="planner",
)
run

# %% [markdown]
# Everything above is on the record already, refused call included.

# %%
wb.sql("select server, tool, outcome, latency_us, policy_rule from tool_calls order by ts")

# %%
calls = wb.sql("select count(*) as calls, count(*) filter (outcome = 'invalid') as refused from tool_calls")
verified = wb.verify()
print(verified)

# %%
assert run.ok
assert "fail" in run.answer.lower()
assert int(calls["refused"][0]) == 1
assert verified.ok
wb.close()
