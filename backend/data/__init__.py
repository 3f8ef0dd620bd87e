"""What goes in: tables, records, images and labelled files, each read into one form."""
