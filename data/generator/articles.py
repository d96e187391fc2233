"""The company's help centre: policies, and how-to articles for every family of products."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from data.generator.catalogue import FAMILIES
from data.generator.timeline import AS_OF, drawn

Row = dict[str, Any]

POLICIES: tuple[tuple[str, str, str], ...] = (
    (
        "What happens when a subscription renewal fails",
        "billing",
        "When the payment of a renewal is refused we try again after 3, 10 and 17 days. Until then the account is "
        "past due: dashboards keep working, new exports and new users are blocked. After the fourth refusal the "
        "subscription ends; readings are kept for 90 days. To pay at once, open Billing, replace the card and "
        "press Pay now. Frequent reasons are an expired card, insufficient funds, and a bank that asks for "
        "confirmation.",
    ),
    (
        "Refunds",
        "billing",
        "A payment may be refunded within 30 days. Hardware has to come back unused; subscriptions are refunded "
        "in proportion to the days that remain when we were at fault. A refund is made to the method of the "
        "payment and takes five working days. Support can prepare a refund; a second person has to approve it.",
    ),
    (
        "Payment methods and due dates",
        "billing",
        "Cards, direct debit and PayPal are charged at once. Larger customers may pay by bank transfer within 30 "
        "days. An invoice that is unpaid after its due date is overdue and is reminded twice.",
    ),
    (
        "Plans of Larkfield Cloud",
        "billing",
        "Starter (29 dollars a month) holds 10 sensors and 30 days of readings. Team (99) holds 50 sensors and a "
        "year. Business (299) holds 500 sensors, three years, exports and the API. Enterprise (990) adds single "
        "sign-on, a service level of 99.9 percent and a named contact. A year costs ten months.",
    ),
    (
        "Support hours and response times",
        "support",
        "Support answers from 07:00 to 19:00 UTC on working days. The first answer to an urgent ticket comes "
        "within one hour, high within four, normal within one day and low within three. Enterprise customers "
        "reach a person on duty at any hour.",
    ),
    (
        "Exports and the limit of 10,000 rows",
        "api",
        "An export from the dashboard ends after 10,000 rows. For more, use the API with a cursor, or ask for a "
        "scheduled export, which is written to your own storage every night. Business and Enterprise may have ten "
        "scheduled exports.",
    ),
    (
        "Rate limits of the API",
        "api",
        "The API allows 600 requests a minute for each key, counted over sliding windows of ten seconds. A "
        "request over the limit is answered with status 429 and the header Retry-After. Bursts count in full: "
        "spread requests evenly.",
    ),
    (
        "Verify the signature of a webhook",
        "api",
        "Every webhook carries the header Larkfield-Signature: a timestamp and an HMAC-SHA256 of timestamp, a dot "
        "and the raw body. Compare in constant time, refuse timestamps older than five minutes, and verify "
        "before you parse.",
    ),
    (
        "The outage of 17 March 2026",
        "incident",
        "On 17 March 2026 from 04:10 to 11:35 UTC the ingestion of readings was down after a full disk in one "
        "region. Gateways kept readings for 72 hours and sent them later; loggers without memory lost up to seven "
        "hours. Disks are now watched at 70 percent, and a second region takes over within five minutes.",
    ),
    (
        "Roles and who may do what",
        "account",
        "The owner pays and may delete the account. Admins add users and keys. Editors change dashboards and "
        "alarms. Viewers read. Ownership is transferred by the owner, or by support after a written confirmation "
        "of the company.",
    ),
    (
        "Two-factor sign-in",
        "account",
        "Turn on two-factor sign-in under Security. Keep the ten recovery codes on paper. Who has lost both phone "
        "and codes is verified by support in a video call, which takes one working day.",
    ),
    (
        "Shipping times and customs",
        "shipping",
        "Orders leave Memphis, Rotterdam or Singapore within two working days. Delivery takes two to four days "
        "within the region and up to ten beyond. Batteries travel by road, which may add three days. Customs "
        "papers are in the parcel and in the order's page.",
    ),
    (
        "Warranty and returns",
        "shipping",
        "Every instrument has a warranty of two years, Marine grade five. To return one, open a ticket with the "
        "serial number; we send a label. Damage in transport has to be reported within seven days, with "
        "photographs.",
    ),
    (
        "Handling of personal data",
        "privacy",
        "We keep names, email addresses and telephone numbers of contacts as long as there is a contract, then 24 "
        "months. Support sees them only while a ticket is open. A person may ask for a copy or for deletion; we "
        "answer within 30 days.",
    ),
)

HOW_TO: tuple[tuple[str, str], ...] = (
    (
        "Install the {family}",
        "Choose a place without direct sun and away from motors. Fix the {family_lower} with the mounting kit, "
        "turn it so that the label can be read, and wait for two green blinks. Write down the serial number "
        "before you close the lid.",
    ),
    (
        "Pair the {family} with a gateway",
        "Hold the button of the {family_lower} for five seconds until it blinks blue. In Larkfield Cloud open "
        "Devices, press Add and choose the gateway. The distance may be 50 to 800 metres, depending on the model; "
        "concrete halves it.",
    ),
    (
        "Calibrate the {family}",
        "Calibrate once a year, or after a fall. Let the {family_lower} and the reference stand together for two "
        "hours, open Calibration, enter the reference value and store. The certificate is kept with the device. "
        "{does}.",
    ),
    (
        "The {family} reads too high or too low",
        "Compare with a second instrument at the same place. A constant difference is removed by calibration; a "
        "drift points to moisture or a worn probe. Readings that jump are usually a loose plug. {does}.",
    ),
    (
        "Battery of the {family}",
        "The battery lasts two to eight years at one reading per ten minutes. Every halving of the interval costs "
        "about a third of the life. At ten percent the {family_lower} warns by email. Use lithium cells only.",
    ),
    (
        "The {family} has stopped reporting",
        "Look at the last contact in Devices. If other devices of the gateway report, restart the {family_lower} "
        "by holding its button for ten seconds. If none report, the gateway is offline: check power, cable and "
        "mobile signal.",
    ),
)  # fmt: skip


def build(products: list[Row]) -> list[Row]:
    """All articles; an article on a family names the family in `tags`."""
    rng = drawn("articles")
    drafts = [(title, category, body, category) for title, category, body in POLICIES]
    for family, _, _, does in FAMILIES:
        for title, body in HOW_TO:
            words = {"family": family, "family_lower": family[0].lower() + family[1:], "does": does}
            if family.startswith("CO2"):
                words["family_lower"] = family
            drafts.append((title.format(**words), "how-to", body.format(**words), family))
    return [
        {
            "article_id": f"A-{n:04d}",
            "title": title,
            "category": category,
            "tags": tags,
            "body": body,
            "updated_on": AS_OF - timedelta(days=int(rng.expovariate(1 / 200))),
            "views": int(rng.lognormvariate(5.5, 1.1)),
        }
        for n, (title, category, body, tags) in enumerate(drafts, 1)
    ]
