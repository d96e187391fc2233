# What may one person's runs use, in a day and in one run?
#
# The numbers come from the data, the most specific entry first: this person of the tenant, everybody of the tenant, any.
# 0 means that the settings alone decide; money is in cents of a US dollar. The tighter one of both holds.
package workbench.budgets

decision := {
	"tokens_per_day": number("tokens_per_day"),
	"cents_per_day": number("cents_per_day"),
	"tokens_per_run": number("tokens_per_run"),
	"cents_per_run": number("cents_per_run"),
}

entry := found if {
	found := data.workbench.budgets.people[input.tenant][input.subject]
} else := found if {
	found := data.workbench.budgets.tenants[input.tenant]
} else := found if {
	found := data.workbench.budgets["default"]
} else := {}

number(name) := object.get(entry, name, 0)
