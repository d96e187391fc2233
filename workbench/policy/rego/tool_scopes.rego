# May this caller call this tool, and what must be kept from them?
#
# The decision never repeats text of the input: missing scopes are answered as positions in the list that
# came in. Negate only rules of this file by their name; engines disagree about everything else.
package workbench.tool_scopes

default decision := {
	"allow": false,
	"rule": "default_deny",
	"missing": [],
	"approval": false,
	"redact": [],
	"redact_declared": true,
	"max_arguments_bytes": 0,
	"max_result_bytes": 0,
}

decision := {
	"allow": allow,
	"rule": rule,
	"missing": missing,
	"approval": approval,
	"redact": kept_back.columns,
	"redact_declared": kept_back.declared,
	"max_arguments_bytes": caps.arguments_bytes,
	"max_result_bytes": caps.result_bytes,
}

# --- who may ---------------------------------------------------------------------------------------------------------

default allow := false

allow if {
	well_known_caller
	labelled
	not quarantined
	not lacking
}

rule := "no_caller" if {
	not well_known_caller
} else := "quarantined" if {
	quarantined
} else := "unlabelled" if {
	not labelled
} else := "missing_scopes" if {
	lacking
} else := "allow"

# an empty tenant or subject is nobody
well_known_caller if {
	input.caller.tenant != ""
	input.caller.subject != ""
}

quarantined if input.tool.quarantined

# a tool that asks for nothing would be open to everybody
labelled if count(input.tool.scopes) > 0

lacking if count(missing) > 0

missing contains position if {
	some position, scope in input.tool.scopes
	not_held[scope]
}

not_held := {scope | some scope in input.tool.scopes} - held

held contains scope if {
	some scope in input.tool.scopes
	scope in input.caller.scopes
}

held contains scope if {
	some scope in input.tool.scopes
	some grant in input.caller.wildcards
	covers(grant, scope)
}

covers("*", _)

# `crm:*` covers `crm:read` and `crm:read:pii`, not `crmx:read`
covers(grant, scope) if {
	endswith(grant, ":*")
	startswith(scope, trim_suffix(grant, "*"))
}

# --- a human first ---------------------------------------------------------------------------------------------------

default approval := false

approval if {
	input.tool.destructive
	not lacking
}

# --- what must be kept from them -------------------------------------------------------------------------------------

sees_personal_data if data.workbench.pii.scope in input.caller.scopes

sees_personal_data if {
	some grant in input.caller.wildcards
	covers(grant, data.workbench.pii.scope)
}

kept_back := {"columns": [], "declared": false} if {
	sees_personal_data
} else := {"columns": data.workbench.pii.columns, "declared": true}

# --- how much --------------------------------------------------------------------------------------------------------

caps := own if {
	own := data.workbench.caps.tools[input.tool.qualified]
} else := data.workbench.caps.default
