# Unit tests for `opa test`; never loaded to decide.
package workbench.tool_scopes_test

import data.workbench.tool_scopes

caller(scopes) := {"tenant": "acme", "subject": "ann", "roles": [], "scopes": scopes, "method": "key"}

tool := {
	"qualified": "crm.find",
	"scopes": [{"name": "crm:read", "forms": ["crm:read", "crm:*", "*"]}],
	"read_only": true,
	"destructive": false,
	"quarantined": false,
}

test_each_form_of_the_scope_allows if {
	every form in ["crm:read", "crm:*", "*"] {
		tool_scopes.allow with input as {"caller": caller([form]), "tool": tool}
	}
}

test_a_neighbour_of_the_scope_does_not_allow if {
	every scope in ["crm", "crm:write", "crmx:read", "cr*", "*:read"] {
		not tool_scopes.allow with input as {"caller": caller([scope]), "tool": tool}
	}
}

test_what_is_missing_is_named_by_position if {
	found := tool_scopes.missing with input as {"caller": caller([]), "tool": tool}
	found == {0}
}

test_caps_of_a_tool_win_over_the_default if {
	found := tool_scopes.caps with input as {"caller": caller([]), "tool": tool}
		with data.workbench.caps.tools as {"crm.find": {"arguments_bytes": 7, "result_bytes": 8}}
	found == {"arguments_bytes": 7, "result_bytes": 8}
}
