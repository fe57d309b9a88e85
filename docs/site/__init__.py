"""The site: the pages of this project, its API reference and its source files as one set of HTML files.

python -m docs.site [FOLDER]    # by default build/site; needs bpengine[docs], and no network

`pages` says which file of the repository becomes which page, `links` turns links between files into links between pages,
`reference` writes a page for each public package, `sources` one for each source file that is linked, and `conf` tells Sphinx
about them.
"""
