"""Run the migrations on the connection that `etl.store.schema` hands over."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=context.config.attributes.get("metadata"),
    include_object=context.config.attributes.get("include_object"),
    include_schemas=True,
    version_table_schema="stp",
    compare_type=True,
    transaction_per_migration=True,
)
context.run_migrations()
