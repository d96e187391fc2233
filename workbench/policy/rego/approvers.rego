# Whose yes does a call need that needs a human's?
#
# The answer comes from the data, the most specific entry first: this tool, its server, any. `approvers` is how many
# different people have to agree, and with more than one whoever asked is none of them; `roles` are those of which each of
# them has one, and an empty list leaves it to whoever may decide approvals.
package workbench.approvers

decision := {"approvers": approvers, "roles": roles}

entry := found if {
	found := data.workbench.approvals.tools[input.tool]
} else := found if {
	found := data.workbench.approvals.servers[input.server]
} else := data.workbench.approvals["default"]

default approvers := 1

approvers := entry.approvers

default roles := []

roles := entry.roles
