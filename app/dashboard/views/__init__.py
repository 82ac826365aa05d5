"""One module a page, each with `page()`. Not called `pages`: Streamlit would make a menu of its own of that folder."""
