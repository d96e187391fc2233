"""products: the catalogue of the sample company, what is in stock, and the orders for it."""

from __future__ import annotations

import sys
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Literal

from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from pydantic import BaseModel, Field

# `servers` is a package beside `data`, in a clone and inside the wheel alike
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from servers.company import Company, Row, containing, where
from servers.identifiers import CustomerId, Limit, Offset, OrderId, Page, ProductId, Words, following
from servers.labels import CATALOGUE_S, READ, labels
from servers.serving import serve
from servers.tool_server import ToolServer

sample = Company("products", "stock", "orders", "order_items", "customers")

server: ToolServer[None] = ToolServer(
    "products",
    title="Products and orders",
    description="Products, prices, stock and orders.",
    instructions="search_products finds a product_id, which opens price, stock and sales. Orders go by customer_id.",
    version="0.1.0",
    log_level="WARNING",
)

Category = Literal["sensors", "monitors", "meters", "loggers", "gateways", "accessories", "services"]
OrderStatus = Literal["processing", "shipped", "delivered", "cancelled", "returned"]


class Product(BaseModel):
    """A product of the catalogue."""

    product_id: ProductId
    sku: str
    name: str
    category: Category
    family: str
    price: float = Field(description="List price in US dollars.")
    currency: str
    status: Literal["active", "discontinued"]
    available: int = Field(description="Pieces in all warehouses that nobody has reserved.")


class ProductPage(Page):
    products: list[Product]


class Shelf(BaseModel):
    warehouse: Literal["Memphis", "Rotterdam", "Singapore"]
    on_hand: int
    reserved: int
    available: int
    reorder_point: int
    next_delivery_on: date | None


class ProductDetail(Product):
    """A product with description, stock and what was sold of it."""

    description: str
    launched_on: date
    stock: list[Shelf]
    units_sold: int = Field(description="Pieces sold in the recorded two years, cancelled orders not counted.")
    revenue: float = Field(description="What they brought, in US dollars.")


class Stock(BaseModel):
    product_id: ProductId
    name: str
    available: int
    stock: list[Shelf]


class Sold(BaseModel):
    rank: int
    product_id: ProductId
    name: str
    category: Category
    units: int
    revenue: float
    orders: int


class TopProducts(BaseModel):
    products: list[Sold]


class LowStock(BaseModel):
    product_id: ProductId
    name: str
    warehouse: str
    on_hand: int
    reorder_point: int
    next_delivery_on: date | None


class LowStockPage(Page):
    products: list[LowStock]


class Order(BaseModel):
    """An order of hardware."""

    order_id: OrderId
    customer_id: CustomerId
    ordered_at: datetime
    status: OrderStatus
    total: float
    currency: str
    ship_to_country: str


class OrderPage(Page):
    total_amount: float = Field(description="Sum of all that fit, in US dollars.")
    orders: list[Order]


class OrderLine(BaseModel):
    product_id: ProductId
    name: str
    quantity: int
    unit_price: float
    amount: float


class OrderDetail(Order):
    lines: list[OrderLine]


AVAILABLE = """coalesce((select sum(s.on_hand - s.reserved) from stock s
    where s.product_id = p.product_id), 0)::bigint as available"""
FIELDS = f"product_id, sku, name, category, family, price, currency, status, {AVAILABLE}"
Since = Annotated[date | None, Field(description="Only orders from this day on.", examples=["2026-01-01"])]
Before = Annotated[date | None, Field(description="Only orders before this day.")]


@server.tool(title="Search products", annotations=READ, meta=labels("products:read", cache_s=CATALOGUE_S))
def search_products(
    query: Annotated[Words | None, Field(description="Words of name, description or SKU.")] = None,
    category: Annotated[Category | None, Field(description="Only this category.")] = None,
    max_price: Annotated[float | None, Field(description="At most this price in US dollars.", ge=0)] = None,
    min_price: Annotated[float | None, Field(description="At least this price in US dollars.", ge=0)] = None,
    in_stock: Annotated[bool, Field(description="Only what can be delivered now.")] = False,
    include_discontinued: Annotated[bool, Field(description="Also what is no longer made.")] = False,
    sort: Annotated[
        Literal["name", "price", "-price", "newest"], Field(description="Order; -price: dearest first.")
    ] = ("name"),
    limit: Limit = 20,
    offset: Offset = 0,
) -> ProductPage:
    """Find products by words, category, price and stock."""
    text, words = containing(query, "name", "description", "sku", "category", "product_id")
    clause, parameters = where(
        (text, words),
        ("category = ?", category),
        ("price <= ?", max_price),
        ("price >= ?", min_price),
        ("available > 0", [] if in_stock else None),
        ("status = 'active'", None if include_discontinued else []),
    )
    order = {"name": "name", "price": "price", "-price": "price desc", "newest": "launched_on desc"}[sort]
    select = f"select * from (select {FIELDS}, description, launched_on from products p){clause}"
    rows, total = sample.page(select, f"{order}, product_id", limit, offset, parameters)
    return ProductPage(
        total=total, next_offset=following(total, offset, len(rows)), products=[Product(**row) for row in rows]
    )


@server.tool(title="Get a product", annotations=READ, meta=labels("products:read", cache_s=CATALOGUE_S))
def get_product(product_id: ProductId) -> ProductDetail:
    """One product with price, description, stock in every warehouse and what was sold of it."""
    row = sample.one(f"select {FIELDS}, description, launched_on from products p where product_id = ?", product_id)
    if row is None:
        raise _unknown(product_id)
    sold = sample.one(
        """select coalesce(sum(quantity), 0)::bigint as units_sold, coalesce(round(sum(amount), 2), 0) as revenue
        from order_items join orders using (order_id) where product_id = ? and orders.status <> 'cancelled'""",
        product_id,
    )
    return ProductDetail(**row, **(sold or {}), stock=_shelves(product_id))


@server.tool(title="Check stock", annotations=READ, meta=labels("products:read"))
def check_stock(product_id: ProductId) -> Stock:
    """How many pieces of a product each warehouse holds, and when more arrive."""
    row = sample.one("select name from products where product_id = ?", product_id)
    if row is None:
        raise _unknown(product_id)
    shelves = _shelves(product_id)
    return Stock(product_id=product_id, name=row["name"], available=sum(s.available for s in shelves), stock=shelves)


@server.tool(title="Low stock", annotations=READ, meta=labels("products:read", cache_s=CATALOGUE_S))
def low_stock(
    warehouse: Annotated[
        Literal["Memphis", "Rotterdam", "Singapore"] | None, Field(description="Only this warehouse.")
    ] = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> LowStockPage:
    """Products that are below their reorder point, the emptiest shelf first."""
    clause, parameters = where(("warehouse = ?", warehouse))
    rows, total = sample.page(
        f"""select product_id, name, warehouse, on_hand, reorder_point, next_delivery_on from stock
        join (select product_id, name from products where status = 'active') using (product_id)
        {clause}{" and" if clause else " where"} on_hand < reorder_point""",
        "on_hand / reorder_point, product_id, warehouse",
        limit,
        offset,
        parameters,
    )
    return LowStockPage(
        total=total, next_offset=following(total, offset, len(rows)), products=[LowStock(**row) for row in rows]
    )


@server.tool(title="Top products", annotations=READ, meta=labels("products:read", cache_s=CATALOGUE_S))
def top_products(
    by: Annotated[Literal["revenue", "units", "orders"], Field(description="What to rank by.")] = "revenue",
    category: Annotated[Category | None, Field(description="Only this category.")] = None,
    country: Annotated[str | None, Field(description="Only orders to this country.", pattern="^[A-Z]{2}$")] = None,
    since: Since = None,
    before: Before = None,
    limit: Limit = 10,
) -> TopProducts:
    """The products that sell best, by revenue, pieces or orders, in a period."""
    clause, parameters = where(
        ("o.status <> 'cancelled'", []),
        ("p.category = ?", category),
        ("o.ship_to_country = ?", country),
        ("o.ordered_at >= ?", since),
        ("o.ordered_at < ?", before),
    )
    rows = sample.rows(
        f"""select p.product_id, p.name, p.category, sum(i.quantity)::bigint as units,
            round(sum(i.amount), 2) as revenue, count(distinct i.order_id) as orders
        from order_items i join orders o using (order_id) join products p using (product_id){clause}
        group by all order by {by} desc, p.product_id limit {int(limit)}""",
        *parameters,
    )
    return TopProducts(products=[Sold(rank=n, **row) for n, row in enumerate(rows, 1)])


@server.tool(title="List orders", annotations=READ, meta=labels("orders:read"))
def list_orders(
    customer_id: Annotated[CustomerId | None, Field(description="Only orders of this customer.")] = None,
    product_id: Annotated[ProductId | None, Field(description="Only orders that hold this product.")] = None,
    status: Annotated[OrderStatus | None, Field(description="Only orders with this status.")] = None,
    since: Since = None,
    before: Before = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> OrderPage:
    """Orders by customer, product, status and day, the latest first."""
    clause, parameters = where(
        ("customer_id = ?", customer_id),
        ("order_id in (select i.order_id from order_items i where i.product_id = ?)", product_id),
        ("status = ?", status),
        ("ordered_at >= ?", since),
        ("ordered_at < ?", before),
    )
    rows, total = sample.page(f"select * from orders{clause}", "ordered_at desc, order_id", limit, offset, parameters)
    amount = sample.one(f"select coalesce(round(sum(total), 2), 0) as a from orders{clause}", *parameters) or {}
    return OrderPage(
        total=total,
        next_offset=following(total, offset, len(rows)),
        total_amount=amount["a"],
        orders=[Order(**row) for row in rows],
    )


@server.tool(title="Get an order", annotations=READ, meta=labels("orders:read"))
def get_order(order_id: OrderId) -> OrderDetail:
    """One order with its lines."""
    row = sample.one("select * from orders where order_id = ?", order_id)
    if row is None:
        raise ToolError(f"No order {order_id}. Find one with products.list_orders.")
    lines = sample.rows(
        """select product_id, name, quantity, unit_price, amount from order_items join products using (product_id)
        where order_id = ? order by line""",
        order_id,
    )
    return OrderDetail(**row, lines=[OrderLine(**line) for line in lines])


@server.resource("products://{product_id}", title="A product", mime_type="application/json")
def product_resource(product_id: str) -> str:
    """The same as get_product, as a resource."""
    try:
        return get_product(product_id).model_dump_json(indent=2)
    except ToolError as e:
        raise ResourceNotFoundError(str(e)) from e


def _unknown(product_id: str) -> ToolError:
    return ToolError(f"No product {product_id}. Search with products.search_products.")


def _shelves(product_id: str) -> list[Shelf]:
    rows: list[Row] = sample.rows(
        """select warehouse, on_hand, reserved, on_hand - reserved as available, reorder_point, next_delivery_on
        from stock where product_id = ? order by warehouse""",
        product_id,
    )
    return [Shelf(**row) for row in rows]


if __name__ == "__main__":
    serve(server, health=sample.health)
