"""Words that people, companies and products are named with."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST = _words("""
James Mary John Patricia Robert Jennifer Michael Linda David Elizabeth William Barbara Richard Susan Joseph Jessica
Thomas Sarah Carlos Karen Daniel Nancy Matthew Lisa Anthony Betty Mark Sandra Paul Ashley Steven Emily Andrew
Kimberly Joshua Donna Kenneth Michelle Kevin Carol Brian Amanda George Melissa Edward Deborah Anna Laura Lukas
Sophie Mia Felix Clara Jonas Hannah Emil Ida Oscar Freya Noah Astrid Elias Ingrid Mateo Lucia Diego Carmen Pablo
Elena Marco Giulia Luca Chiara Pierre Camille Hugo Chloe Wei Mei Hiroshi Yuki Kenji Aiko Arjun Priya Rohan Ananya
Vikram Fatima Omar Layla Yusuf Amara Kwame Zainab Tunde Ngozi Aisha Ravi
""")

LAST = _words("""
Smith Johnson Williams Brown Jones Garcia Miller Davis Rodriguez Martinez Hernandez Lopez Wilson Anderson Thomas
Taylor Moore Jackson Martin Lee Perez Thompson White Harris Clark Lewis Robinson Walker Young Allen King Wright
Scott Torres Nguyen Hill Flores Green Adams Nelson Baker Hall Rivera Campbell Mitchell Carter Roberts Fischer Weber
Meyer Wagner Becker Hoffmann Schulz Koch Bauer Richter Klein Larsen Hansen Nielsen Berg Lund Rossi Russo Ferrari
Bianchi Romano Dubois Moreau Laurent Lefebvre Girard Silva Santos Costa Pereira Tanaka Sato Suzuki Watanabe Kim
Park Chen Wang Liu Zhang Patel Sharma Gupta Khan Hussein Okafor Mensah Diallo Kaya Yilmaz Novak Kowalski Nowak
""")

COMPANY_HEAD = _words("""
Alder Amber Anchor Apex Arbor Aster Atlas Beacon Birch Blue Bright Cedar Cinder Clear Cobalt Copper Coral Crest
Delta Drift Eagle East Echo Elm Ember Falcon Fern Field Flint Forge Fox Frost Glen Golden Granite Green Harbor
Hazel Heron High Iron Ivy Juniper Keystone Lake Lark Laurel Lime Linden Maple Marble Meadow Mill Moss Noble North
Oak Ocean Olive Orchard Osprey Park Pebble Pine Plain Prairie Quarry Quartz Raven Reed Ridge River Rock Rowan
Saffron Sage Sand Sierra Silver Slate South Spring Spruce Stone Summit Sun Swift Thorn Timber Tidal Union Vale
Valley Vista West White Willow Wind Winter Wood
""")

COMPANY_TAIL = _words("""
Analytics Bakery Biotech Botanics Brewing Cold Construction Controls Dairy Diagnostics Dynamics Energy Engineering
Farms Fisheries Foods Freight Gardens Glass Greenhouses Health Hotels Hydro Laboratories Logistics Manufacturing
Materials Metals Mining Motors Optics Packaging Paper Pharma Plastics Power Properties Rail Research Robotics
Seafood Seeds Semiconductors Shipping Solar Storage Systems Textiles Utilities Vineyards Warehousing Water
""")

LEGAL = {"US": "Inc.", "GB": "Ltd", "DE": "GmbH", "FR": "SAS", "NL": "B.V.", "SE": "AB", "IT": "S.p.A.", "ES": "S.L."}
LEGAL |= {"CA": "Inc.", "AU": "Pty Ltd", "JP": "K.K.", "IN": "Pvt Ltd"}

COUNTRY = {
    "US": 34,
    "GB": 13,
    "DE": 14,
    "FR": 8,
    "NL": 6,
    "SE": 4,
    "IT": 4,
    "ES": 4,
    "CA": 6,
    "AU": 3,
    "JP": 2,
    "IN": 2,
}

CITY = {
    "US": ("Boston", "Chicago", "Denver", "Seattle", "Austin", "Atlanta", "Portland", "San Diego"),
    "GB": ("London", "Leeds", "Bristol", "Glasgow", "Manchester"),
    "DE": ("Berlin", "Hamburg", "Munich", "Stuttgart", "Leipzig"),
    "FR": ("Paris", "Lyon", "Nantes", "Toulouse"),
    "NL": ("Rotterdam", "Utrecht", "Eindhoven"),
    "SE": ("Stockholm", "Gothenburg", "Malmö"),
    "IT": ("Milan", "Turin", "Bologna"),
    "ES": ("Madrid", "Valencia", "Bilbao"),
    "CA": ("Toronto", "Calgary", "Halifax"),
    "AU": ("Sydney", "Perth", "Hobart"),
    "JP": ("Osaka", "Nagoya"),
    "IN": ("Pune", "Chennai"),
}

# Ranges that the telephone regulators keep for fiction.
PHONE = {
    "US": "+1 212 555 01{:02d}",
    "CA": "+1 416 555 01{:02d}",
    "GB": "+44 7700 900{:03d}",
    "DE": "+49 30 23125 {:03d}",
    "FR": "+33 1 99 00 {:02d} 42",
    "AU": "+61 2 5550 00{:02d}",
}
