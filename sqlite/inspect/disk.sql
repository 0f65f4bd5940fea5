-- How large is the file, and how much of it is in use?
.mode column
.headers on
SELECT page_count * page_size AS file_bytes, freelist_count * page_size AS free_bytes, max_page_count AS pages_allowed
FROM pragma_page_count, pragma_page_size, pragma_freelist_count, pragma_max_page_count;
