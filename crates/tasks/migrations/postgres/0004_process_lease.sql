-- The process that uses the database alone, because its broker reaches no other process. At most
-- one row. Times are the database's, in microseconds since 1970.
CREATE TABLE process_lease (
    id         integer NOT NULL PRIMARY KEY CHECK (id = 1),
    holder     uuid    NOT NULL,
    -- Who it is, for people.
    process    text    NOT NULL,
    -- Grows with each renewal, so that others see a living holder without comparing clocks.
    renewals   bigint  NOT NULL,
    expires_at bigint  NOT NULL
);
