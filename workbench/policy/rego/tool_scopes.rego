# May this caller call this tool, and what must be kept from them?
#
# Input, every field always present:
#   caller  tenant, subject, roles, scopes, method
#   tool    qualified, read_only, destructive, quarantined, and scopes: each with its name and the forms it may be held
#           in, itself and every wider one (`crm:read`, `crm:*`, `*`)
#
# The decision repeats no text of the input: missing scopes are answered as positions in the list that came in. After `not`
# stands only the name of a rule of this file, since engines disagree about the rest.
package workbench.tool_scopes

decision := {
	"allow": allow,
	"rule": rule,
	"missing": missing,
	"approval": input.tool.destructive,
	"redact": data.workbench.pii.columns,
	"redact_declared": withheld,
	"caps": caps,
}

# --- who may ---------------------------------------------------------------------------------------------------------

default allow := false

allow if {
	somebody
	labelled
	satisfied
	not quarantined
}

rule := "allow" if {
	allow
} else := "no_caller" if {
	not somebody
} else := "quarantined" if {
	quarantined
} else := "unlabelled" if {
	not labelled
} else := "missing_scopes"

# an empty tenant or subject is nobody
somebody if {
	input.caller.tenant != ""
	input.caller.subject != ""
}

quarantined if input.tool.quarantined

# a tool that asks for nothing would be open to everybody
labelled if count(input.tool.scopes) > 0

satisfied if {
	every scope in input.tool.scopes {
		held(scope.forms)
	}
}

held(forms) if {
	some form in forms
	form in input.caller.scopes
}

missing contains position if {
	not satisfied
	some position, scope in input.tool.scopes
	scope.name in lacking
}

lacking := needed - granted

needed contains scope.name if some scope in input.tool.scopes

granted contains scope.name if {
	some scope in input.tool.scopes
	held(scope.forms)
}

# --- what must be kept from them -------------------------------------------------------------------------------------

default withheld := true

withheld := false if held(data.workbench.pii.seen_with)

# --- how much --------------------------------------------------------------------------------------------------------

caps := own if {
	own := data.workbench.caps.tools[input.tool.qualified]
} else := data.workbench.caps.default
