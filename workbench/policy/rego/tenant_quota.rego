# How often may one tenant call one tool in a minute?
#
# The number comes from the data, the most specific entry first: this tenant and this tool, this tenant and every tool
# ("*"), any tenant and this tool, any tenant and every tool. Nothing found, or 0, means no quota; the rate limit of each
# caller stands beside it in any case.
package workbench.tenant_quota

default decision := {"allow": false, "rule": "default_deny", "per_minute": 0}

decision := {"allow": allow, "rule": rule, "per_minute": per_minute}

default per_minute := 0

per_minute := number if {
	number := data.workbench.quotas.tenants[input.tenant][input.tool]
} else := number if {
	number := data.workbench.quotas.tenants[input.tenant]["*"]
} else := number if {
	number := data.workbench.quotas["default"][input.tool]
} else := number if {
	number := data.workbench.quotas["default"]["*"]
}

default allow := false

allow if per_minute == 0

allow if input.used < per_minute

rule := "unlimited" if {
	per_minute == 0
} else := "within_quota" if {
	allow
} else := "quota_used_up"
